// Tile sizes of Hopper's attention kernels, where each tile lies in shared memory, the mbarriers of the pipeline, and
// how registers are split between the warpgroups.
#pragma once

#include <cstdint>

#include "cuda/attention/tile_shape.hpp"
#include "cuda/operands/packed_block.hpp"
#include "cuda/tile/machine_sm90.hpp"
#include "cuda/tile/panel_tile.hpp"

namespace octavo::cuda {

constexpr std::uint32_t kMostSharedBytesSm90 = 227u << 10;

// A consumer warpgroup owns 64 rows, their scores [64, kKeys] and their O [64, kDim], of which a thread holds half as
// many registers as there are columns; one more warpgroup brings the tiles.
template <int dim, PackedFormat score_format = PackedFormat::s8, PackedFormat value_format = PackedFormat::s8,
          bool f16_sums = false>
struct AttentionShapeSm90 {
  static constexpr int kDim = dim;
  static constexpr PackedFormat kScores = score_format, kValues = value_format;
  static constexpr bool kIntegerScores = kScores == PackedFormat::s8, kIntegerValues = kValues == PackedFormat::s8;
  static constexpr bool kFloat8Values = kValues == PackedFormat::e4m3;
  static constexpr bool kScaledScores = is_byte(kScores);  // keys have factors
  static constexpr bool kByteValues = is_byte(kValues);    // V is transposed, K's rows are permuted
  static constexpr bool kShiftsScores = !kByteValues;      // before the exponential (shift_far_scores())
  static constexpr bool kKeepingIsAnOption = false;        // registers are scarce: kept_score_mod
  static constexpr int kPlanes = 1;
  static constexpr bool kSumsInF16 = f16_sums;  // a tile's P V
  static_assert(!kSumsInF16 || (kIntegerScores && kFloat8Values));

  static constexpr int kConsumers = 2;
  static constexpr int kWarps = 4 * kConsumers;  // with rows
  static constexpr int kAllWarps = kWarps + 4;   // the producers are the last warpgroup
  static constexpr int kRows = 64 * kConsumers;  // of a block: one block of packed Q
  static_assert(kRows == kPackedRows);
  // Keys of a tile: a block of packed K and V, or the smaller key block of SageAttention2 (AttentionShape). 256
  // channels of 16 bits leave shared memory for half a block.
  static constexpr int kKeys = kDim == 256 && !kByteValues ? 64 : static_cast<int>(value_tile_keys(kScores, kValues));
  // Channels of V whose P V is summed at a time, where a tile has sums of its own: those of 256 channels would take all
  // registers that O leaves.
  static constexpr int kSliceChannels = kDim == 256 && kByteValues ? 64 : kDim;
  static constexpr bool kBlockScales = kKeys == kPackedRows && kByteValues;  // V may have scales that change with it

  // Registers of a thread: at the start 384 threads share 65536; then the producers hand theirs on.
  static constexpr int kRegisters = 168, kProducerRegisters = 24, kConsumerRegisters = 240;
  static_assert(kProducerRegisters + kConsumers * kConsumerRegisters <= (kConsumers + 1) * kRegisters);

  // Tiles: Q [kRows, kDim], K [kKeys, kDim], V [kDim, kKeys] of bytes, [kKeys, kDim] of 16 bits.
  static constexpr std::uint32_t kRowBytes = packed_bytes(kScores, kDim);
  using QueryTile = PanelTile<kRows, kRowBytes>;
  using KeyTile = PanelTile<kKeys, kRowBytes>;
  using ValueTile = PanelTile<kByteValues ? kDim : kKeys, kByteValues ? kKeys : 2 * kDim>;
  static constexpr std::uint32_t kVectorBytes = 4 * kKeys, kColumnBytes = kBlockScales ? 4 * kDim : 0;
  // Addends of keys: heads that share a tile have their own where smooth_q's bias is in them, which floats do not have.
  static constexpr std::uint32_t kAddendVectors = kScaledScores ? kWarps : 1;
  static constexpr int kStagedRows = kDim == 256 ? 4 : 8;  // of O on their way out, of a warp at a time
  static constexpr std::uint32_t kStagedBytes = kWarps * kStagedRows * 4 * (kDim + 8);
  static constexpr std::uint32_t kTaskBytes = 64, kNextTaskBytes = 16 + kWarps * 8;

  // Stages, each of K and of V: as many as fit, at most four. Vectors of keys share the stages of K, those of channels
  // the stages of V.
  static constexpr std::uint32_t kVectors = kAddendVectors + (kScaledScores ? 1 : 0) + (kIntegerValues ? 2 : 0);
  static constexpr std::uint32_t kStageBytes =
      KeyTile::kBytes + ValueTile::kBytes + kVectors * kVectorBytes + kColumnBytes + 4 * kMbarrierBytes;
  static constexpr std::uint32_t kOtherBytes =
      QueryTile::kBytes + kStagedBytes + kWarps * kTaskBytes + 4 * kMbarrierBytes + kNextTaskBytes;
  static constexpr int kMostStages = static_cast<int>((kMostSharedBytesSm90 - kOtherBytes) / kStageBytes);
  static constexpr int kStages = kMostStages < 4 ? kMostStages : 4;
  static_assert(kStages >= 2);

  // Byte offsets; stage s of a part is s times its size further.
  static constexpr std::uint32_t kQueryAt = 0;
  static constexpr std::uint32_t kKeysAt = kQueryAt + QueryTile::kBytes;
  static constexpr std::uint32_t kValuesAt = kKeysAt + kStages * KeyTile::kBytes;
  static constexpr std::uint32_t kFactorAt = kValuesAt + kStages * ValueTile::kBytes;
  static constexpr std::uint32_t kAddendAt = kFactorAt + (kScaledScores ? kStages * kVectorBytes : 0);
  static constexpr std::uint32_t kHeadAddendBytes = kStages * kVectorBytes;  // of a head
  static constexpr std::uint32_t kInverseAt = kAddendAt + kAddendVectors * kHeadAddendBytes;
  static constexpr std::uint32_t kFoldAt = kInverseAt + (kIntegerValues ? kStages * kVectorBytes : 0);
  static constexpr std::uint32_t kColumnScaleAt = kFoldAt + (kIntegerValues ? kStages * kVectorBytes : 0);
  static constexpr std::uint32_t kStagedAt = kColumnScaleAt + kStages * kColumnBytes;
  static constexpr std::uint32_t kTaskAt = kStagedAt + kStagedBytes;
  static constexpr bool kTaskInShared = true;
  static constexpr bool kNearInShared = kDim == 256;  // near keys that rows keep: found anew they would displace scores
  static constexpr std::uint32_t kNextTaskAt = kTaskAt + kWarps * kTaskBytes;  // number of the block's next task
  static constexpr std::uint32_t kOwnTasksAt = kNextTaskAt + 16;  // what each consumer warp keeps of its task's number
  static constexpr std::uint32_t kBarriersAt = kNextTaskAt + kNextTaskBytes;
  static constexpr std::uint32_t kBytes = kBarriersAt + (4 + 4 * kStages) * kMbarrierBytes;
  static_assert(kBytes <= kMostSharedBytesSm90);

  // mbarriers: a tile has come, and all consumers are done with it; the same of the next task's number.
  static constexpr std::uint32_t kQueryFull = kBarriersAt, kQueryEmpty = kQueryFull + kMbarrierBytes;
  static constexpr std::uint32_t kKeysFull = kQueryEmpty + kMbarrierBytes;
  static constexpr std::uint32_t kKeysEmpty = kKeysFull + kStages * kMbarrierBytes;
  static constexpr std::uint32_t kValuesFull = kKeysEmpty + kStages * kMbarrierBytes;
  static constexpr std::uint32_t kValuesEmpty = kValuesFull + kStages * kMbarrierBytes;
  static constexpr std::uint32_t kTaskFull = kValuesEmpty + kStages * kMbarrierBytes;
  static constexpr std::uint32_t kTaskEmpty = kTaskFull + kMbarrierBytes;

  // Named barriers: the turns of the consumer warpgroups, one each from here on.
  static constexpr int kTurnBarrier = 1;
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
