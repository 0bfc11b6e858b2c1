// Tile sizes of the mma.sync attention kernels and where each tile lies in shared memory. Every GPU from
// compute capability 8.0 on allows a block 99 KiB (8.6, 8.9 and 12.0 no more).
#pragma once

#include <cstdint>

#include "cuda/operands/packed_block.hpp"

namespace octavo::cuda {

constexpr std::uint32_t kMostSharedBytes = 99u << 10;

// Warps of a block, each of 16 query rows.
OCTAVO_INLINE constexpr int attention_warps(PackedFormat scores, int dim) {
  return packed_planes(scores) > 1 ? 512 / dim : dim == 256 && !is_integer(scores) ? 4 : 8;
}

// kDim: channels of Q, K and V, padded. A warp owns 16 rows, their scores and their O: [16, kDim] f32 are kDim / 2
// registers, [16, kKeys] another kKeys / 2.
template <int dim, PackedFormat score_format, PackedFormat value_format>
struct AttentionShape {
  static constexpr int kDim = dim;
  static constexpr PackedFormat kScores = score_format, kValues = value_format;
  static constexpr bool kIntegerScores = is_integer(kScores), kIntegerValues = kValues == PackedFormat::s8;
  static constexpr bool kShiftsScores = true;  // before the exponential (shift_far_scores())
  // Kept keys are an option of the kernels with every option, not variants of these.
  static constexpr bool kKeepingIsAnOption = true;
  static constexpr bool kFloat8Scores = kScores == PackedFormat::float8;
  static constexpr bool kFloat8Values = kValues == PackedFormat::float8 || kValues == PackedFormat::e4m3;
  static constexpr bool kScaledScores = kIntegerScores || kFloat8Scores;  // keys have factors
  static constexpr bool kByteValues = is_byte(kValues);                   // V is transposed, K's rows are permuted

  // Codes relative to a block's own maximum need the recipe's whole key block; 16-bit weights round relatively, and
  // half of it leaves room for operands of two bytes. With FP8 values it is the recipe's: SageAttention2's beside
  // integer scores, else 128. Three planes leave room for few.
  static constexpr int kPlanes = packed_planes(kScores);
  static constexpr int kKeys = kPlanes > 1 ? kDim == 256 ? 16 : 32 : kIntegerValues || kFloat8Scores ? 128 : 64;
  static constexpr bool kBlockScales = kKeys == kPackedRows;  // V may have scales that change with the block
  static constexpr std::uint32_t kRowBytes = packed_bytes(kScores, kDim) / kPlanes;  // of a plane
  static constexpr std::uint32_t kValueRows = kByteValues ? kDim : kKeys;
  static constexpr std::uint32_t kValueRowBytes = kByteValues ? kKeys : 2 * kDim;

  // FP8 scores of 256 channels: their key block of K in two bytes leaves no room for V. K and V share one place, half a
  // tile at a time: K's halves make room for V's, V's for those of the next K.
  static constexpr bool kSharesPlace = kFloat8Scores && kDim == 256;

  // Two stages of K and V where they fit; else the next K is copied during PV, and the next V during QK.
  static constexpr int kStages = kDim == 256 || ((kFloat8Scores || kPlanes > 1) && kDim == 128) ? 1 : 2;
  static constexpr int kWarps = attention_warps(kScores, kDim);
  static constexpr int kRows = 16 * kWarps;
  // Q stays in registers where O and the scores leave room for it.
  static constexpr bool kQueryInRegisters = kDim <= 128 && kPlanes == 1 && !(kFloat8Scores && kDim == 128);

  static constexpr std::uint32_t kQueryPlaneBytes = kRows * kRowBytes, kQueryBytes = kPlanes * kQueryPlaneBytes;
  static constexpr std::uint32_t kKeyPlaneBytes = kKeys * kRowBytes, kKeyBytes = kPlanes * kKeyPlaneBytes;
  static constexpr std::uint32_t kValuePlaneBytes = kValueRows * kValueRowBytes;
  static constexpr std::uint32_t kValueBytes = kPlanes * kValuePlaneBytes;
  static constexpr std::uint32_t kVectorBytes = 4 * kKeys;

  // Byte offsets; stage s of a part is s times its size further.
  static constexpr std::uint32_t kQueryAt = 0;
  static constexpr std::uint32_t kKeysAt = kQueryAt + kQueryBytes;
  static constexpr std::uint32_t kValuesAt = kSharesPlace ? kKeysAt : kKeysAt + kStages * kKeyBytes;
  static constexpr std::uint32_t kFactorAt = kValuesAt + kStages * kValueBytes;
  static constexpr std::uint32_t kAddendAt = kFactorAt + (kScaledScores ? kStages * kVectorBytes : 0);
  static constexpr std::uint32_t kInverseAt = kAddendAt + kStages * kVectorBytes;
  static constexpr std::uint32_t kFoldAt = kInverseAt + (kIntegerValues ? kStages * kVectorBytes : 0);
  static constexpr std::uint32_t kColumnScaleAt = kFoldAt + (kIntegerValues ? kStages * kVectorBytes : 0);
  static constexpr std::uint32_t kTilesEnd = kColumnScaleAt + (kBlockScales ? kStages * 4u * kDim : 0);
  // Rows of O on their way out, over tiles that are done with, not over tasks: a call without keys has no barrier
  // between.
  static constexpr int kStagedRows = 8;  // of a warp at a time
  static constexpr std::uint32_t kStagedAt = 0, kStagedBytes = kWarps * kStagedRows * 4 * (kDim + 8);
  static constexpr std::uint32_t kTaskAt = kTilesEnd > kStagedBytes ? kTilesEnd : kStagedBytes;
  // What a warp needs of its task (WarpTask), where there is room and registers are scarce.
  static constexpr std::uint32_t kTaskBytes = 64;
  static constexpr bool kTaskInShared = kDim > 64 && kTaskAt + kWarps* kTaskBytes <= kMostSharedBytes;
  static constexpr std::uint32_t kBytes = kTaskAt + (kTaskInShared ? kWarps * kTaskBytes : 0);
  static_assert(kBytes <= kMostSharedBytes);
  static constexpr bool kNearInShared = false;  // near keys that rows keep (WarpRows)
};

// Kernels of one shape. plain: any recipe without modified scores. folded: the same for recipes of our own, where
// integer weights are relative to the key block's maximum, their row sum is of the weights, and V's scales are folded
// into them (is_folded()): known when the kernel is compiled, these choices cost the loop nothing. score_mod: whatever
// the call may ask for, softcap, masks and ALiBi between the products, and sequences of 16-bit Q (spec/q16.hpp), for
// which there is a launch of its own (AttentionKernelParams::short_queries); it serves plain calls, too, where a shape
// has no kernel for them. p16: the same with integer weights of two bytes. Kept keys are hidden here, and the rows'
// state goes to join_kept_keys(): kept is folded with kept keys; elsewhere they are one more option of score_mod and
// p16, on Hopper in a variant of its own, kept_score_mod.
enum class AttentionVariant : std::uint8_t { plain, folded, score_mod, p16, kept, kept_score_mod };
OCTAVO_INLINE constexpr bool keeps_keys(AttentionVariant variant) { return variant >= AttentionVariant::kept; }
OCTAVO_INLINE constexpr bool is_folded(AttentionVariant variant) {
  return variant == AttentionVariant::folded || variant == AttentionVariant::kept;
}
// Bytes of an integer weight.
OCTAVO_INLINE constexpr int weight_planes(AttentionVariant variant) { return variant == AttentionVariant::p16 ? 2 : 1; }
OCTAVO_INLINE constexpr bool modifies_scores(AttentionVariant variant) {
  return variant != AttentionVariant::plain && !is_folded(variant);
}

// With codes of s4 multiplied as such.
constexpr std::int32_t kMostS4Channels = 128;

// The thread block of a launch, which works on `rows` query rows.
struct AttentionLaunch {
  int threads = 0, rows = 0;
  std::uint32_t shared_bytes = 0;
};
template <class Shape>
constexpr AttentionLaunch attention_launch() {
  return {32 * Shape::kWarps, Shape::kRows, Shape::kBytes};
}

// The portable kernels there are: f.template operator()<Shape>() of the one for these operands; false: there is none.
template <int dim, class F>
bool with_attention_shape_of(PackedFormat scores, PackedFormat values, F&& f) {
  using enum PackedFormat;
  if (scores == s8 && values == s8) return f.template operator()<AttentionShape<dim, s8, s8>>(), true;
  if (scores == s8 && values == f16) return f.template operator()<AttentionShape<dim, s8, f16>>(), true;
  if (scores == s8 && values == float8) return f.template operator()<AttentionShape<dim, s8, float8>>(), true;
  if (scores == float8 && values == float8) return f.template operator()<AttentionShape<dim, float8, float8>>(), true;
  if (scores == f16 && values == f16) return f.template operator()<AttentionShape<dim, f16, f16>>(), true;
  if (scores == f32 && values == f32) return f.template operator()<AttentionShape<dim, f32, f32>>(), true;
  if (scores == bf16 && values == bf16) return f.template operator()<AttentionShape<dim, bf16, bf16>>(), true;
  return false;
}
template <class F>
bool with_attention_shape(std::int32_t dim, PackedFormat scores, PackedFormat values, F&& f) {
  return dim == 64    ? with_attention_shape_of<64>(scores, values, f)
         : dim == 128 ? with_attention_shape_of<128>(scores, values, f)
         : dim == 256 ? with_attention_shape_of<256>(scores, values, f)
                      : false;
}

}  // namespace octavo::cuda
