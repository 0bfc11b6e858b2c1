// Parameters of the operand kernels; plain data, copied to the device with the launch.
#pragma once

#include <cstdint>

#include "cuda/operands/range_arrays.hpp"
#include "cuda/operands/rows.hpp"
#include "octavo/quantize.hpp"
#include "spec/granularity.hpp"

namespace octavo::cuda {

// K's means per block of 128 keys, for heads that take them (spec/block_mean.hpp); null: none.
struct BlockMeansOfKeys {
  std::uint32_t* taken = nullptr;  // [sequence, head]: 1 or 0
  float* mean = nullptr;           // [blocks][dim]: what packing subtracts; of heads that take them
  float* shift = nullptr;          // [blocks][dim]: the block's mean minus that of the head, as K was given
};

// The transform of a row before it is scaled.
struct RowSteps {
  OperandRows x;
  DeviceSequences sequences;
  bool rotate = false;
  const float* mean = nullptr;  // f32 [sequence, head][dim], or of every block; null: nothing is subtracted
  bool mean_of_block = false;
  // Means of blocks lie beside codes of varlen sequences, with so many floats of each head; null: by block index.
  const spec::ScalePlace* mean_places = nullptr;
  std::int64_t means_per_head = 0;
  BlockMeansOfKeys block_means;  // K
  // V: bits of the largest magnitude of [sequence, head], which decides the prescale of its rows
  // (spec/v_prescale.hpp); null: 1.
  const std::uint32_t* prescale_amax = nullptr;
  // K and V: [key blocks][128], whether a key exists for the call (operands/seen_keys.hpp); null: all of them do.
  const std::uint8_t* seen = nullptr;
  // Q and K: f32 [sequence, KV head][dim], factors of the channels before the rotation (spec/qk_gain.hpp); null: 1.
  const float* gain = nullptr;
  std::int64_t heads_per_gain = 1;
};
// Bit i: whether row i of `count` rows from `row` on exists.
OCTAVO_INLINE std::uint32_t existing_rows(const RowSteps& steps, const BlockOfRows& at, std::int64_t row, int count) {
  std::uint32_t bits = 0;
  for (int i = 0; i < count; ++i) {
    const bool exists =
        row + i < at.rows && (steps.seen == nullptr || steps.seen[at.block * kPackedRows + (row - at.row) + i] != 0);
    bits |= static_cast<std::uint32_t>(exists) << i;
  }
  return bits;
}
// Where the mean of the block lies among those of blocks, in floats.
OCTAVO_INLINE std::int64_t block_mean_at(const RowSteps& steps, const BlockOfRows& at) {
  if (steps.mean_places == nullptr) return at.block * steps.x.dim;
  return at.head * steps.means_per_head + steps.mean_places[at.b].means + at.row / kPackedRows * steps.x.dim;
}
OCTAVO_INLINE const float* mean_of(const RowSteps& steps, const BlockOfRows& at) {
  if (steps.mean == nullptr) return nullptr;
  const std::uint32_t* const taken = steps.block_means.taken;
  if (taken != nullptr && taken[at.b * steps.sequences.heads + at.head] != 0) {
    return steps.block_means.mean + at.block * steps.x.dim;
  }
  return steps.mean +
         (steps.mean_of_block ? block_mean_at(steps, at) : (at.b * steps.sequences.heads + at.head) * steps.x.dim);
}

// Arrays of scales or ranges: so many floats of each head, [sequence, head] or, of varlen sequences, by place.
struct ScaleArray {
  std::int64_t per_head = 1;
  const spec::ScalePlace* places = nullptr;
};
OCTAVO_INLINE std::int64_t first_scale(const ScaleArray& array, const DeviceSequences& sequences, std::int64_t b,
                                       std::int64_t head) {
  if (array.places != nullptr) return head * array.per_head + array.places[b].scales;
  return (b * sequences.heads + head) * array.per_head;
}

// Where scales and means of the sequences of an operand begin (operands/scale_places.hpp).
struct ScalesOfSequences {
  DeviceSequences sequences;
  spec::Groups groups;
  std::int64_t dim = 0;
  bool scales_in_rows = false, means_in_rows = false;
  std::int64_t scales_per_head = 0, scales_per_sequence = 0, means_per_head = 0, means_per_sequence = 0;
  spec::ScalePlace* places = nullptr;       // [sequences]
  std::int64_t* cu_seqlens_copy = nullptr;  // [sequences + 1]; null: not wanted
};
struct ScalePlaceParams {
  ScalesOfSequences of[3];
};

// Codes of the caller's -> the largest magnitude that their scales allow, bits of f32 [sequence, head].
struct ScaleRangeParams {
  DeviceSequences sequences;
  spec::Groups groups;
  OperandRows x;
  float largest_code = 128;
  std::uint32_t* amax = nullptr;  // zero at first
};

// What blocks of 128 rows say of an operand's channels, f32 [blocks][...][dim].
enum class RowStat : std::uint8_t {
  channels,  // sums and counts of the finite values, their extremes
  weighted,  // V: sums of the weighted rows, and of the weights (spec/value_centre.hpp)
  ranges,    // of groups larger than a block of rows: tensor, channel, block_channel
};

// `robust`: without stray rows (spec/stray_rows.hpp). Q's rows are compared with those of their block. K's are compared
// with all of the head: a first launch counts their exponents, a second one (or head_stats()) repeats the blocks that
// hold stray rows.
struct StatsParams {
  RowStat what = RowStat::channels;
  RowSteps steps;  // its mean is ignored, except by ranges; its rotation by weighted sums
  bool robust = false;
  bool of_block = false;                // Q
  bool again = false;                   // the blocks with stray rows
  std::uint32_t* exponents = nullptr;   // K: [sequence, head][256] rows of each exponent; zero at first
  std::uint32_t* of_largest = nullptr;  // K: [blocks], the exponent of the block's largest row
  float* sums = nullptr;                // [blocks][2][dim]
  float* mean = nullptr;                // or the mean of every block, [blocks][dim]
  float* extremes = nullptr;            // [blocks][2][dim]: smallest and largest finite values; null: not wanted
  float* spread = nullptr;              // [blocks][dim]: spec::spread() from the block's mean, -1: no values
  spec::Groups groups;
  ScaleArray array;    // of the ranges
  RangeArrays ranges;  // of a head [groups][dim where each channel has its own]
};

// Launches for several operands: block x of the grid works on operand x modulo `count`.
constexpr int kMostOperands = 4;  // of V range and sums
struct StatsOfOperands {
  std::int32_t count = 0;
  StatsParams of[kMostOperands];
};
static_assert(sizeof(StatsOfOperands) <= 4096, "the most that a launch takes");

// The means over all rows of (sequence, head) from the sums; `centre`: V's weighted centre, rotated as its rows are.
struct MeanParams {
  DeviceSequences sequences;
  std::int64_t dim = 0;
  const float* sums = nullptr;
  float* mean = nullptr;  // [sequence, head][dim]
  bool centre = false, rotate = false;
};

// Gains from the statistics of K and Q; K's mean becomes that of its rows after the gains and the rotation.
struct GainParams {
  DeviceSequences queries;
  std::int64_t heads_per_kv_head = 1;
  bool rotate = false;
  const float* extremes = nullptr;  // of K
  const float* spread = nullptr;    // of Q
  float* of_k = nullptr;            // [sequence, head][dim]; null: no gains are wanted
  float* of_q = nullptr;            // their reciprocals
  BlockMeansOfKeys block_means;     // null: none are wanted
};

// What a head's rows have in common. z of the grid: K, V, those of them that have a mean.
struct HeadStatsParams {
  MeanParams k, v;
  GainParams gains;
  // Statistics that the rest of a head turns out to change come first, block after block: K's blocks with stray rows,
  // and all of V where it is prescaled. Where a head has many blocks, a launch of row_stats() does that.
  bool repeats_k = false, repeats_v = false;
  StatsParams k_again, v_again;
};
static_assert(sizeof(HeadStatsParams) <= 4096, "the most that a launch takes");

// Which keys exist for the call: key_mask, of quantize() kv_lens, and in robust recipes only those that some row may
// see.
struct SeenKeysParams {
  DeviceSequences queries, keys;
  std::int64_t heads_per_kv_head = 1;
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;
  bool robust = false;
  Broadcast mask, key_mask;
  // Of quantize(), whose result also has rows behind the last key that exists: `keys` has all of them.
  IntegerArray kv_lens;
  std::uint8_t* seen = nullptr;  // [key blocks][128]
};

// Rows of Q that hold a NaN and see only keys that do not exist: their factor becomes 0, so that they see nothing.
struct BlindRowsParams {
  DeviceSequences queries, keys;
  std::int64_t heads_per_kv_head = 1;
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;
  const std::uint8_t* seen = nullptr;
  float* factor = nullptr;  // [query blocks][128]
};

// How a range is turned into a scale.
struct ScaleRule {
  float range = 127;
  bool zero_scale_of_zero = false;
};

struct ScaleParams {
  RangeArrays ranges;
  std::int64_t count = 0;
  ScaleRule rule;
  float* scales = nullptr;
};

// Rows -> codes in natural order, with the scales that no other kernel has made.
struct QuantizeParams {
  RowSteps steps;
  spec::Groups groups;
  ScaleArray array;    // of the scales, and of the ranges
  RangeArrays ranges;  // where row_stats() has found them
  ScaleRule rule;
  void* codes = nullptr;
  DType dtype = DType::s8;  // s8, s4, e4m3, e5m2
  Strides<4> strides;       // b, head, row, channel (1); s4 in nibbles
  float* scales = nullptr;  // of a head [groups]; null: none, or made from the ranges
};

// Rows of Q or K -> blocks as packed_block.hpp defines them.
struct PackParams {
  RowSteps steps;
  spec::Groups groups;
  RangeArrays ranges;
  ScaleRule rule;
  PackedFormat format = PackedFormat::s8;
  bool e5m2 = false;       // numbers of float8
  std::int32_t dim = 128;  // channels of a packed row
  void* codes = nullptr;
  float* factor = nullptr;  // scale * factor_scale; null: not wanted
  float factor_scale = 1;

  float* addend = nullptr;  // K: 0, -infinity, NaN
  bool permuted = false;    // codes are stored in slots

  void* codes_low = nullptr;        // Q: low bytes of 16-bit codes
  bool q16 = false;                 // short sequences have 16-bit codes
  float* logit_offset = nullptr;    // softmax_scale * q . mean of K
  const float* key_mean = nullptr;  // [sequence, KV head][dim]
  std::int64_t heads_per_kv_head = 1;
  float softmax_scale = 1;
};

// Scales of tokens by exponent (spec/stray_rows.hpp), [sequence, head][256]; zero at first.
struct ExponentScales {
  std::uint32_t* count = nullptr;
  std::uint32_t* largest = nullptr;  // bits of the largest scale of the exponent
};
// Rows of V -> blocks.
struct PackValuesParams {
  RowSteps steps;
  Granularity granularity = Granularity::tensor;
  RangeArrays ranges;  // tensor, channel; 16-bit values: of the tensor, for their divisor
  ScaleRule rule;
  PackedFormat format = PackedFormat::s8;
  bool e5m2 = false;    // numbers of float8
  bool divide = false;  // 16-bit values that are not the caller's own
  // As in RowSteps, for scales of the caller's and for ranges of V without its prescale; null: 1.
  const std::uint32_t* prescale_amax = nullptr;
  std::int32_t dim = 128;
  void* codes = nullptr;
  std::int64_t tile_keys = kPackedRows;  // of codes of 8 bits: how many lie side by side
  std::uint32_t flip = 0;                // four codes of s8 are XORed with it (PackedValues::flip)
  float* column_scale = nullptr;         // [key_blocks][dim] where scales belong to blocks
  float* token_scale = nullptr;          // [key_blocks][128]: raw scales of folded tokens
  std::uint32_t* largest = nullptr;      // [sequence, head]: bits of s_max, NaN left out; zero at first
  ExponentScales by_exponent;            // in place of `largest` where s_max leaves out stray tokens
};

// s_max of a head: bits, or from the scales of all exponents (operands/stray_rows.hpp).
struct LargestScale {
  const std::uint32_t* largest = nullptr;  // [sequence, head]
  ExponentScales by_exponent;
};

// Factors and addends of the output that hold for all keys of (sequence, KV head).
struct ValueFactorParams {
  std::int64_t sequences = 0, heads = 0, value_dim = 0;
  bool varlen = false;
  std::int32_t dim = 128;
  Granularity granularity = Granularity::tensor;
  bool divide = false;
  RangeArrays ranges;
  ScaleRule rule;
  const float* scales = nullptr;                 // the caller's, tensor or channel
  const std::uint32_t* prescale_amax = nullptr;  // as in PackValuesParams
  const std::uint32_t* value_amax = nullptr;     // of the prescale that output_rescale undoes; null: 1
  LargestScale largest;
  const float* mean = nullptr;  // [sequence, head][value_dim]
  float* output_factor = nullptr;
  float* output_addend = nullptr;   // null: none
  float* output_rescale = nullptr;  // null: 1
};

// The fold's vectors from raw scales, in the order of keys.
struct FoldParams {
  DeviceSequences sequences;
  const float* token_scale = nullptr;  // null: no fold
  LargestScale largest;
  const float* presence = nullptr;  // the addend without b, of PackParams; also without the fold
  float* addend = nullptr;          // with it; null: b goes to `fold` alone
  float* inverse = nullptr;
  float* fold = nullptr;
};

// smooth_q's means in the basis of the caller's K: rotated back, with their dot product with K's mean.
struct UnrotateMeansParams {
  DeviceSequences queries;
  std::int64_t dim = 0;
  bool rotate = false;
  OperandRows given;            // the caller's codes, if they have means
  const float* mean = nullptr;  // else [query blocks][dim]
  const float* key_mean = nullptr;
  const float* gain = nullptr;  // of K's channels, which K as given lacks; null: 1
  std::int64_t heads_per_kv_head = 1;
  // [query blocks][kPlanesOfF32][64, 128 or 256], bf16 in pairs, zeros behind dim
  std::uint32_t* unrotated = nullptr;  // null: not wanted
  float* dot_key_mean = nullptr;       // [query blocks]: mean . key_mean
};

// All operands of an attention call: x of the grid modulo `parts`.
struct PackCallParams {
  std::int32_t parts = 3;  // K, Q, V; 4: and the factors of V that need none of its codes
  PackParams rows[2];      // K, Q
  StatsParams q_mean;      // of Q's blocks, where it was not known before (mean: not null)
  UnrotateMeansParams unrotate;
  PackValuesParams v;
  ValueFactorParams factors;
};
static_assert(sizeof(PackCallParams) <= 4096, "the most that a launch takes");

// Codes -> floats.
struct DequantizeParams {
  OperandRows x;
  DeviceSequences sequences;
  spec::Groups groups;
  bool mean_of_block = false, rotated = false;
  Operand out;
};

}  // namespace octavo::cuda
