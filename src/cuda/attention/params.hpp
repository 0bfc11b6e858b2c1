// Parameters of the attention kernels: packed operands, the caller's options, where results go. Plain data, copied to
// the device with the launch; every pointer leads to device memory.
#pragma once

#include <cstdint>

#include "core/problem.hpp"
#include "cuda/operands/packed_block.hpp"
#include "cuda/operands/params.hpp"
#include "cuda/operands/rows.hpp"

namespace octavo::cuda {

// Which query blocks one launch works on; it bounds the memory that is kept per query block. In a varlen batch blocks
// are counted over all sequences (first_varlen_block) and there is one batch entry.
struct Chunk {
  std::int64_t first_block = 0, blocks = 0;
  std::int64_t first_head = 0, heads = 0;
  std::int64_t first_batch = 0, batches = 0;
};

// Query heads that share a tile of query rows, of one KV head: with few rows in a sequence the tile is filled with
// those of several heads, whose keys are then multiplied once (host/head_tiles.hpp). Rows of a head take whole warps.
struct SharedTiles {
  std::int32_t warps_log2 = 3;  // warps of 16 rows that a head takes
  std::int32_t heads = 1;       // of a tile; 1: heads share none
  std::int32_t of_kv_head = 1;  // tiles for the query heads of a KV head, where they share
  std::int32_t of_chunk = 0;    // tiles for all heads of the chunk; 0: one for each head
};

// smooth_q's bias joined with the keys' addend, for one chunk f32 [batches][heads][blocks][keys], keys in order:
//   addend[j] + logit_scale * mean_q . K'_j     (K' rotated, smoothed, not rounded; NaN and -infinity of the addend
//   stay)
// `keys` is 128 * the most blocks of a sequence (varlen: of the total). Sequences of 16-bit Q have none and use the
// keys' own addend.
struct SmoothQBias {
  float* addend = nullptr;  // null: Q was not smoothed
  std::int64_t keys = 0;
};

// Kept keys (spec/kept_keys.hpp): the recipe's fields, and what the kernels of a chunk hand on. The attention kernels
// leave the rows' quantized part; join_kept_keys() adds the kept keys and finishes the rows.
inline constexpr std::int64_t kHeavyList = 32;
struct KeptKeysOfCall {
  std::int32_t first = 0, near = 0, heavy = 0;
  bool smooth_q = false;
  std::int32_t* heavy_keys = nullptr;  // [batches][heads][blocks][kHeavyList], -1: no more; null: none

  OCTAVO_MEMBER constexpr bool any() const { return first > 0 || near > 0 || heavy > 0; }
};

// What attention kernels leave of rows that another kernel finishes: those with kept keys, and those whose keys several
// tasks share (host/split.hpp), each of which has its own rows here. Rows are those of [batches][heads][blocks][128].
struct UnfinishedRows {
  std::int32_t parts = 1;  // tasks that share the keys of a row
  float* out = nullptr;    // O, f32 [parts][rows][dim]
  float* state = nullptr;  // [parts][rows][4]: m, l (base 2), and the row's lse_offset and mask_row_max (natural)
};

// What the own means of K's blocks of 128 keys add to the scores of the chunk's rows, base 2 (spec/block_mean.hpp).
struct BlockOffsets {
  const std::uint32_t* taken = nullptr;  // [sequence, KV head]; null: no head has them
  float* of_row = nullptr;               // [batches][heads][blocks][key_blocks][128]
  std::int64_t key_blocks = 0;
};

// How weights are rounded to FP8 (round_float8()).
struct Float8Rounding {
  float smallest_normal = 0x1p-6f;                // of the format
  std::uint32_t shift = (20u << 23) + 0x400000u;  // (23 - digits) 2^23 + 2^22
};
OCTAVO_INLINE constexpr Float8Rounding float8_rounding(bool e5m2) {
  return e5m2 ? Float8Rounding{0x1p-14f, (21u << 23) + 0x400000u} : Float8Rounding{};
}

struct AttentionKernelParams {
  PackedQuery q;
  PackedKeys k;
  PackedValues v;
  SmoothQBias smooth_q_bias;
  BlockOffsets block_offsets;
  DeviceSequences queries, keys;
  Chunk chunk;
  SharedTiles shared;          // chunks begin and end with a KV head where heads share tiles
  std::int64_t value_dim = 0;  // channels of the output

  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;
  float softmax_scale = 1, logit_scale = 1;  // the latter times log2 e
  float softcap = 0;
  Broadcast mask, alibi_slopes, sinks;
  KeptKeysOfCall kept;
  UnfinishedRows unfinished;
  // The launch is for the sequences of 16-bit Q, else for all others; a varlen batch may hold both.
  bool short_queries = false;
  const std::uint8_t* seen = nullptr;  // [key blocks][128]: keys that exist; null: all of the sequence
  bool hides_keys = false;             // addends of -infinity stay what they are, whatever score_mod does
  Alibi alibi = Alibi::causal;

  float p_range = 255;           // R of integer and FP8 weights
  float log2_p_range = 0;        // its base-2 logarithm
  bool running_maximum = false;  // codes are relative to the row's running maximum, else to the key block's own
  bool sum_codes = false;        // the row sum adds the codes
  Float8Rounding p_rounding;     // of FP8 weights
  bool f16_sums = false;         // PV of a key block of floats is summed in f16
  bool rotate_output = false;    // V was rotated

  Operand out;
  float* lse = nullptr;    // null: not wanted
  Strides<3> lse_strides;  // b (varlen: 0), hq, row
};

struct SmoothQBiasParams {
  RowSteps keys;  // K; only x and sequences count
  spec::Groups groups;
  DeviceSequences queries;
  const std::uint32_t* unrotated_means = nullptr;  // as UnrotateMeansParams has them
  const float* dot_key_mean = nullptr;
  std::int64_t heads_per_kv_head = 1;
  float logit_scale = 1;
  Chunk chunk;
  SmoothQBias bias;
};

struct BlockOffsetParams {
  RowSteps queries;  // Q; only x and sequences count
  DeviceSequences keys;
  const std::uint32_t* taken = nullptr;  // [sequence, KV head]
  const float* shift = nullptr;          // [key blocks][dim]
  // Of Q as given, as UnrotateMeansParams has them; null: Q is not smoothed.
  const std::uint32_t* unrotated_means = nullptr;
  bool q16 = false;  // short sequences are not smoothed
  std::int64_t heads_per_kv_head = 1;
  float logit_scale = 1;
  Chunk chunk;
  BlockOffsets offsets;
};

// What follows packing, for a chunk of query blocks: smooth_q's bias, the offsets of K's block means; for all keys the
// fold's vectors and the factors of V, which need s_max. Those that are wanted share the grid: x modulo their number.
enum class FinishPart : std::uint8_t { bias, offsets, fold, factors };
struct FinishParams {
  std::int32_t count = 0;
  FinishPart parts[4]{};
  SmoothQBiasParams bias;
  BlockOffsetParams offset;
  FoldParams fold;  // `presence` also without the fold; the bias has the fold in it where `addend` is set
  ValueFactorParams factors;
};
static_assert(sizeof(FinishParams) <= 4096, "the most that a launch takes");

// Which keys a query block keeps for their weight; they and the first keys are hidden from its bias.
struct HeavyKeysParams {
  DeviceSequences queries, keys;
  std::int64_t heads_per_kv_head = 1;
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;
  KeptKeysOfCall kept;
  bool q16 = false;             // short sequences have no bias
  const float* fold = nullptr;  // b of the fold, unless the addends have it; null: they do
  Chunk chunk;
  SmoothQBias bias;
};

// The parts of rows whose keys several tasks shared become one: the result, or with kept keys part 0.
struct MergePartsParams {
  AttentionKernelParams attention;
  std::int32_t dim = 128;  // of unfinished rows
  bool keeps = false;
};

struct KeptKeysParams {
  AttentionKernelParams attention;
  OperandRows q, k, v;                           // as given
  const std::uint32_t* prescale_amax = nullptr;  // V's prescale, as in RowSteps
};

}  // namespace octavo::cuda
