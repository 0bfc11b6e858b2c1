// Tuned numbers of the CUDA back end, each with its reason. None has been measured on a card yet.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "cuda/packed.hpp"
#include "octavo/recipe.hpp"
#include "spec/granularity.hpp"

namespace octavo::cuda {

// The widest packed row; more channels would not leave a warp's O in its registers.
inline constexpr std::int64_t kMostChannels = 256;

// Warps that share a block of 128 rows: each has 32 of them, and 16 blocks fill a multiprocessor's 64 warps.
inline constexpr int kCodeWarps = 4;

// Groups that lie inside a block of 128 rows, at the most: per thread, with slices of 16 rows of Q.
inline constexpr int kMostGroups = 64;

// Row ranges and group scales of a block of rows: f32 [128], u32 [128], f32 [64], f32 [64].
inline constexpr std::uint32_t kAmaxAt = 0, kOddAt = 512, kInverseAt = 1024, kScaleAt = 1280, kCodeSharedBytes = 1536;

// V is transposed in rows of 128 keys and 4 bytes, which keep neighbouring channels in different banks.
inline constexpr std::uint32_t kTransposedRow = kPackedRows + 4;
OCTAVO_INLINE constexpr std::uint32_t pack_values_shared_bytes(std::uint32_t dim) {
  return dim * kTransposedRow + (2 * kCodeWarps + 1) * dim * 4;
}

// The correction's product: means that a thread sums side by side, and channels of a slice in shared memory, where a
// key's row is one word longer so that the lanes of a warp read different banks.
inline constexpr int kMeansAtOnce = 16;
inline constexpr std::uint32_t kSliceChannels = 32, kKeyRow = kSliceChannels + 1;
inline constexpr std::uint32_t kMeansAt = kPackedRows * kKeyRow * 4;
inline constexpr std::uint32_t kCorrectionSharedBytes = kMeansAt + kMeansAtOnce * kSliceChannels * 4;

// Scratch memory for smooth_q's correction: bounds what one launch works on. 128 MiB hold 64 query blocks of 32 heads
// against 16384 keys, two thousand blocks of threads, several times what a card runs at once.
inline constexpr std::size_t kCorrectionBytes = std::size_t{128} << 20;
// Of a small card no more than this part of its memory.
inline constexpr std::size_t kCorrectionShare = 64;

// Whether a block of 128 rows holds its groups whole.
OCTAVO_INLINE constexpr bool groups_in_block(const spec::Groups& groups) {
  return groups.role != Role::v &&
         (groups.granularity == Granularity::block || groups.granularity == Granularity::warp ||
          groups.granularity == Granularity::thread);
}

}  // namespace octavo::cuda
