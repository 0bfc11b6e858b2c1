// The decisions of an attention call on a device: forms of the operands, which steps run, and how scratch memory is
// laid out. Lengths are in device memory, so extents come from the tensors'.
#pragma once

#include "cuda/attention/params.hpp"
#include "cuda/host/implementation.hpp"
#include "cuda/host/launch.hpp"
#include "spec/call_steps.hpp"

namespace octavo::cuda {

// How Q and K, and V, of an attention call are packed. `e4m3_values`: P and V of E4M3 are multiplied as they are beside
// integer scores; `e4m3_scores`: so are Q, K, P and V where all are of E4M3.
struct OperandFormats {
  PackedFormat qk{}, v{};
};
OperandFormats formats_of(const Problem& problem, bool e4m3_values, bool e4m3_scores);

// Made once a call; scratch memory is found by its `bytes`, then laid out.
struct AttentionPlan {
  AttentionPlan(const Implementation& implementation, const Problem& its, const DeviceProperties& device);

  const Problem& problem;
  const Recipe& recipe;
  std::int32_t dim = 0;
  PackedFormat qk_format{}, v_format{};
  bool f16_sums = false;  // PV of a key block of floats is summed in f16
  spec::CallSteps steps;
  bool smooth_q_bias = false, q16 = false;  // of some sequence
  bool plain_v_ranges = false;              // V's ranges are those of its rows as they are; its prescale uses them, too
  bool marks_seen = false;                  // whether a key exists must be looked up
  bool keeps_heavy = false;                 // some query blocks may keep keys for their weight
  bool divides_v = false;                   // by a number that brings V into f16's range
  Granularity v_granularity = Granularity::none;  // none: the values as they are
  bool wgmma = false;                             // attention by Hopper's kernels, where there is one
  bool uneven_tasks = false;                      // its tasks take different times: blocks ask for them
  int multiprocessors = 1;
  SharedTiles shared;      // heads of a KV head in a tile of query rows
  std::int64_t parts = 1;  // tasks that share the keys of a block of query rows
  DeviceSequences queries, keys;
  Chunk chunk;            // the largest; `blocks`, `heads` and `batches` are its steps
  std::size_t bytes = 0;  // of scratch memory

  bool permuted_keys() const { return is_byte(v_format); }
  // Integer weights are relative to the key block's maximum, their sum is of the weights, and V's scales are folded
  // into them.
  bool folded() const;
  // The call asks for what only the kernel with every option has.
  bool takes_every_option() const;
  std::int64_t query_blocks() const { return grid_of(queries)[0]; }
  std::int64_t key_blocks() const { return grid_of(keys)[0]; }
  // Attention kernels leave rows to another one.
  bool leaves_rows() const { return steps.keeps || parts > 1; }
  // Tiles of query rows for so many heads, whole groups of a KV head where heads share them.
  std::int64_t head_tiles(std::int64_t heads) const;
  std::int64_t batches() const { return queries.varlen() ? 1 : problem.batch; }

 private:
  bool has_s4_attention() const;
  void choose_steps();
  void choose_chunk(std::size_t most_bytes);
  void choose_tasks(std::size_t most_bytes);
  bool may_share_tiles() const;
  bool may_split() const;
  std::int64_t unfinished_bytes() const;
  std::int64_t blocks_in(std::size_t most_bytes) const;
};

// The parts of a call's scratch memory. What must start at zero comes first.
struct AttentionScratch {
  std::uint32_t* zeroed = nullptr;
  std::int64_t zeroed_count = 0;
  RangeArrays q_range, k_range, v_range, v_plain;  // the last: of V as it is, for its prescale
  std::uint32_t* largest_v_scale = nullptr;
  float *k_sums = nullptr, *v_sums = nullptr, *k_mean = nullptr, *v_mean = nullptr, *q_mean = nullptr;
  PackedQuery q;
  PackedKeys k;
  float* k_presence = nullptr;  // its addend without the fold
  PackedValues v;
  float* v_token_scale = nullptr;
  std::uint8_t* seen = nullptr;
  // Of the caller's codes of varlen sequences; null: not needed.
  spec::ScalePlace *q_places = nullptr, *k_places = nullptr, *v_places = nullptr;
  // Statistics without stray rows, and gains (operands/channel_stats.hpp, head_stats.hpp).
  std::uint32_t *k_exponents = nullptr, *k_largest_exponent = nullptr;
  float *k_extremes = nullptr, *q_spread = nullptr, *gain_of_k = nullptr, *gain_of_q = nullptr;
  BlockMeansOfKeys block_means;
  BlockOffsets block_offsets;
  ExponentScales v_by_exponent;
  std::uint32_t* unrotated_q_means = nullptr;
  float* dot_key_mean = nullptr;
  SmoothQBias smooth_q_bias;
  KeptKeysOfCall kept;
  std::uint32_t* asked_tasks = nullptr;  // by the blocks of Hopper's kernels
  UnfinishedRows unfinished;
  std::size_t bytes = 0;
};

// Packed rows of Q, and of K and V.
inline std::int64_t packed_q_rows(const AttentionPlan& plan) {
  return plan.batches() * plan.problem.q_heads * plan.query_blocks() * kPackedRows;
}
inline std::int64_t packed_k_rows(const AttentionPlan& plan) {
  return plan.batches() * plan.problem.kv_heads * plan.key_blocks() * kPackedRows;
}

// Without memory only the sizes count.
AttentionScratch lay_out(const AttentionPlan& plan, std::byte* memory);

}  // namespace octavo::cuda
