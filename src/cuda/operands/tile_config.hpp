// Tuned numbers of the operand kernels, each with its reason. None has been measured on a GPU yet.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "cuda/operands/packed_block.hpp"
#include "cuda/tile/fragments.hpp"
#include "octavo/recipe.hpp"
#include "spec/granularity.hpp"

namespace octavo::cuda {

// Warps of a block of 128 rows: 16 rows each. A call of 8 heads with 1024 rows has 64 blocks of each operand for 132
// multiprocessors: there the chain of a warp's loads counts. 8 blocks fill a multiprocessor's 64 warps.
inline constexpr int kCodeWarps = 8;

// A head of at most so many blocks leaves those whose statistics must be taken again to one thread block
// (head_stats()): each takes it about 8000 clocks, one after the other, a launch for all of them 5000 more. Mostly it
// is the block of the first key, or none.
inline constexpr std::int64_t kFewBlocks = 16;

// Groups that lie inside a block of 128 rows, at the most: per thread, with slices of 16 rows of Q.
inline constexpr int kMostGroups = 64;

// Row ranges and group scales of a block of rows: f32 [128], u32 [128], f32 [64], f32 [64].
inline constexpr std::uint32_t kAmaxAt = 0, kNonfiniteAt = 512, kInverseAt = 1024, kScaleAt = 1280,
                               kCodeSharedBytes = 1536;

// Rows on their way from the warps that load them to the threads that add up channels, twice: f32 [rows][channels], 8
// numbers of every thread, then a word for each of at most 4 rows of every warp. Then the exponents of the block's
// rows, u32 [128].
inline constexpr std::uint32_t kStageWordsAt = 8 * kCodeWarps * kLanes * 4,
                               kStageBytes = kStageWordsAt + 16 * kCodeWarps;
inline constexpr std::uint32_t kExponentsAt = 2 * kStageBytes, kStatsSharedBytes = kExponentsAt + 512;

// Vectors of a head: mean, gain, A and B (spec/block_mean.hpp), f32 [kMostChannels] each.
inline constexpr std::uint32_t kHeadVectorBytes = 4 * kMostChannels, kHeadSharedBytes = 4 * kHeadVectorBytes;
static_assert(kHeadSharedBytes <= kStatsSharedBytes);  // where head_stats() repeats blocks

// V is transposed in rows of 128 keys and 4 bytes, which keep neighbouring channels in different banks.
inline constexpr std::uint32_t kTransposedRow = kPackedRows + 4;
OCTAVO_INLINE constexpr std::uint32_t pack_values_shared_bytes(std::uint32_t dim) {
  return dim * kTransposedRow + (2 * kCodeWarps + 1) * dim * 4;
}

// Whether every group lies inside one block of 128 rows.
OCTAVO_INLINE constexpr bool groups_in_block(const spec::Groups& groups) {
  return groups.role != Role::v &&
         (groups.granularity == Granularity::block || groups.granularity == Granularity::warp ||
          groups.granularity == Granularity::thread);
}

}  // namespace octavo::cuda
