// Tile sizes of Hopper's attention kernels, where each tile lies in shared memory, the mbarriers of the pipeline, and
// how registers are split between the warpgroups. Operands are s8 codes.
#pragma once

#include <cstdint>

#include "cuda/attention/tile_shape.hpp"
#include "cuda/operands/packed_block.hpp"
#include "cuda/tile/machine_sm90.hpp"

namespace octavo::cuda {

constexpr std::uint32_t kMostSharedBytesSm90 = 227u << 10;

// A consumer warpgroup owns 64 rows, their scores [64, kKeys] and their O [64, kDim], of which a thread holds half as
// many registers as there are columns; one more warpgroup brings the tiles.
template <int dim>
struct AttentionShapeSm90 {
  static constexpr int kDim = dim;
  static constexpr PackedFormat kScores = PackedFormat::s8, kValues = PackedFormat::s8;
  static constexpr bool kIntegerScores = true, kFloat8Scores = false, kScaledScores = true;
  static constexpr bool kIntegerValues = true, kFloat8Values = false, kByteValues = true, kBlockScales = true;
  static constexpr bool kShiftsScores = false;
  static constexpr int kPlanes = 1;

  static constexpr int kConsumers = 2;
  static constexpr int kWarps = 4 * kConsumers;      // with rows
  static constexpr int kAllWarps = kWarps + 4;       // the producers are the last warpgroup
  static constexpr int kRows = 64 * kConsumers;      // of a block: one block of packed Q
  static constexpr int kKeys = 128;                  // of a tile: one block of packed K and V
  static constexpr int kStages = dim <= 64 ? 4 : 3;  // each of K and of V
  static_assert(kRows == kPackedRows && kKeys == kPackedRows);

  // Registers of a thread: at the start 384 threads share 65536; then the producers hand theirs on.
  static constexpr int kRegisters = 168, kProducerRegisters = 24, kConsumerRegisters = 240;
  static_assert(kProducerRegisters + kConsumers * kConsumerRegisters <= (kConsumers + 1) * kRegisters);

  // Tiles: Q [kRows, kDim], K [kKeys, kDim], V [kDim, kKeys], each as wide as its swizzle.
  static constexpr std::uint32_t kRowBytes = kDim, kValueRowBytes = kKeys;
  static constexpr Swizzle kQuerySwizzle = kDim == 64 ? Swizzle::bytes64 : Swizzle::bytes128;
  static constexpr Swizzle kValueSwizzle = Swizzle::bytes128;
  static_assert(row_bytes(kQuerySwizzle) == kRowBytes && row_bytes(kValueSwizzle) == kValueRowBytes);
  static constexpr std::uint32_t kQueryBytes = kRows * kRowBytes, kKeyBytes = kKeys * kRowBytes;
  static constexpr std::uint32_t kValueBytes = kDim * kValueRowBytes;
  static constexpr std::uint32_t kVectorBytes = 4 * kKeys;

  // Byte offsets; stage s of a part is s times its size further. Vectors of keys share the stages of K, those of
  // channels the stages of V.
  static constexpr std::uint32_t kQueryAt = 0;
  static constexpr std::uint32_t kKeysAt = kQueryAt + kQueryBytes;
  static constexpr std::uint32_t kValuesAt = kKeysAt + kStages * kKeyBytes;
  static constexpr std::uint32_t kFactorAt = kValuesAt + kStages * kValueBytes;
  static constexpr std::uint32_t kAddendAt = kFactorAt + kStages * kVectorBytes;
  static constexpr std::uint32_t kInverseAt = kAddendAt + kStages * kVectorBytes;
  static constexpr std::uint32_t kFoldAt = kInverseAt + kStages * kVectorBytes;
  static constexpr std::uint32_t kColumnScaleAt = kFoldAt + kStages * kVectorBytes;
  static constexpr std::uint32_t kStagedAt = kColumnScaleAt + kStages * 4u * kDim;  // rows of O on their way out
  static constexpr std::uint32_t kStagedBytes = kWarps * 8 * 4 * (kDim + 8);
  static constexpr std::uint32_t kTaskAt = kStagedAt + kStagedBytes, kTaskBytes = 64;
  static constexpr bool kTaskInShared = true;
  static constexpr std::uint32_t kBarriersAt = kTaskAt + kWarps * kTaskBytes;
  static constexpr std::uint32_t kBytes = kBarriersAt + (2 + 4 * kStages) * kMbarrierBytes;
  static_assert(kBytes <= kMostSharedBytesSm90);

  // mbarriers: a tile has come, and all consumers are done with it.
  static constexpr std::uint32_t kQueryFull = kBarriersAt, kQueryEmpty = kQueryFull + kMbarrierBytes;
  static constexpr std::uint32_t kKeysFull = kQueryEmpty + kMbarrierBytes;
  static constexpr std::uint32_t kKeysEmpty = kKeysFull + kStages * kMbarrierBytes;
  static constexpr std::uint32_t kValuesFull = kKeysEmpty + kStages * kMbarrierBytes;
  static constexpr std::uint32_t kValuesEmpty = kValuesFull + kStages * kMbarrierBytes;
};

template <class Shape>
constexpr AttentionLaunch attention_launch_sm90() {
  return {32 * Shape::kAllWarps, Shape::kRows, Shape::kBytes};
}

// The use of a ring of stages: which one is next, and the parity of its phase.
template <int stages>
struct StageRing {
  std::uint32_t stage = 0, parity = 0;
  OCTAVO_DEVICE void next() {
    if (++stage == stages) stage = 0, parity ^= 1;
  }
  // Of the mbarrier `at` of stage 0.
  OCTAVO_DEVICE std::uint32_t barrier(std::uint32_t at) const { return at + stage * kMbarrierBytes; }
};

}  // namespace octavo::cuda
