// What a call means in terms of the kernels: the form each operand takes, where everything lies in scratch memory, and
// the split into tasks. Made once per call; nothing in it that can touch a result depends on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "core/problem.hpp"
#include "spec/granularity.hpp"
#include "spec/side_arrays.hpp"

namespace octavo::cpu {

// How Q and K enter the first product, weights and V the second. Numbers of every format are exact in f32, those of
// FP8 in bf16 too.
enum class ScoreForm : std::uint8_t { s8, f32, bf16 };
enum class ValueForm : std::uint8_t { s8, f32, bf16 };

// What a policy asks of the layout of packed operands (cpu/simd/policy.hpp).
struct PolicyTraits {
  int lanes = 1;
  int key_bias = 0;
  int weight_bias = 0;
  bool bf16 = false;
};

// Byte offsets of the parts of one packed key block.
struct BlockLayout {
  std::size_t keys = 0;          // strips [k_steps][kStrip] of words
  std::size_t values = 0;        // strips [key_block / v_depth][kStrip] of words
  std::size_t key_factor = 0;    // f32 [key_block]: scale of K * logit_scale
  std::size_t key_addend = 0;    // f32 [key_block]: b of the fold; -infinity: no such key; NaN: poisoned
  std::size_t inverse = 0;       // f32 [key_block]: 1 / s~ of the fold
  std::size_t fold = 0;          // f32 [key_block]: b of the fold where it is not part of key_addend
  std::size_t v_scale = 0;       // f32 [key_block]: raw scale of a token of V (the fold)
  std::size_t v_start = 0;       // s32 [v_columns]: weight bias times the block's column sums
  std::size_t column_scale = 0;  // f32 [v_columns]: scales of V that hold for this block
  std::size_t flags = 0;         // BlockFlags
  std::size_t bytes = 0;
};

struct BlockFlags {
  // Whether codes of -128 are among the caller's own; some policies take them through other products.
  bool minus_128_in_keys = false, minus_128_in_values = false;
  bool finite_values = true;
  float value_amax = 0;  // of V as it was packed
};

// Byte offsets of the parts of one thread's scratch.
struct ThreadLayout {
  std::size_t rows = 0;         // f32 [128][padded D or Dv]: rows before they become codes
  std::size_t mean = 0;         // f32 [query_blocks][padded D]: smooth_q's means, rotated back for the correction
  std::size_t queries = 0;      // [query_blocks][128][q_ld] words
  std::size_t queries_low = 0;  // likewise: low plane of 16-bit queries
  std::size_t row_vectors = 0;  // QueryVectors [query_blocks]
  std::size_t correction = 0;   // f32 [query_blocks][keys]: key addend of the block (smooth_q)
  std::size_t scores = 0;       // f32 [2][kGroupRows][key_block]
  std::size_t weights = 0;      // words [query_blocks][128][key_block / v_depth]
  std::size_t weights_low = 0;  // likewise: low bytes of 16-bit codes
  std::size_t out = 0;          // f32 [query_blocks][128][v_columns]
  std::size_t bytes = 0;
};

// A sequence of the batch and where its packed blocks start.
struct SequenceInfo {
  Sequence rows;
  std::int64_t first_block = 0;    // of KV head 0; heads follow, `blocks` each
  std::int64_t blocks = 0;         // key blocks of a head
  std::int64_t first_partial = 0;  // likewise of the 128-row statistics
  std::int64_t partials = 0;
  std::int64_t first_query_range = 0;  // of query head 0, likewise
  std::int64_t query_ranges = 0;
  spec::SidePlace q_sides, k_sides, v_sides;  // of the caller's codes
};

// One (sequence, KV head) after its statistics. Vectors of its channels follow it in memory: mean_of_keys(),
// value_vectors().
struct alignas(64) HeadInfo {
  std::int64_t pending_partials = 0, pending_blocks = 0;  // tasks to go; who takes the last one finishes the head
  float out_scale = 1;                                    // what O / l is multiplied by
  float value_unit = 1;                                   // what V is multiplied by (spec/value_unit.hpp)
  float k_amax = 0;                                       // range of K under one scale per tensor
  bool k_finite = true;
};

// What each channel of V loses before it becomes codes, x -> (x / gain - mean) * inverse, and what O is owed at the
// end: O * owed + mean. f32 [padded Dv] each.
struct ValueVectors {
  float *mean, *gain, *inverse, *owed;
};

// Statistics of an operand's channels over 128 rows, f32 [padded D] each; which of them a call needs.
struct ColumnExtremes {
  float *low, *high;  // of the finite values
  float* odd;         // NaN where a value is not finite, else 0
};
struct ColumnStatistics {
  float *sums, *counts;  // of the finite values
  ColumnExtremes extremes;
};
struct ColumnNeeds {
  bool sums = false, extremes = false;
  constexpr bool any() const { return sums || extremes; }
};

// Range of 128 rows of Q under one scale per tensor.
struct QueryRange {
  float amax = 0;
  bool finite = true;
};

inline constexpr std::int64_t kQueryBlock = spec::kQueryBlock;

// What the stages read of one query block, besides its words.
struct QueryVectors {
  float factor[kQueryBlock];            // scale of the row; NaN poisons it
  float constant[kQueryBlock];          // softmax_scale * q . mean of K: owed to the LSE
  std::int32_t start[kQueryBlock];      // where integer scores start: -key bias * sum of codes
  std::int32_t start_low[kQueryBlock];  // likewise of the low plane of a 16-bit query
};

// Query rows first..first+rows-1 of one (sequence, head).
struct AttentionTask {
  std::int64_t batch = 0, head = 0, first = 0, rows = 0;
};

struct Plan {
  const Problem* problem = nullptr;
  PolicyTraits policy;

  ScoreForm score = ScoreForm::s8;
  ValueForm value = ValueForm::s8;
  float qk_range = 127, v_range = 127;
  float p_range = 1, log2_p_range = 0;  // R of the weights; leaves with beta
  bool running_maximum = false, sum_codes = false;
  bool fold = false;
  bool rotate_qk = false, rotate_v = false, smooth_q = false, smooth_k = false;
  bool smooth_v = false, has_gains = false;
  bool owes_columns = false;     // some channel of O is owed a factor of its own
  bool block_scales = false;     // V has scales that change with the key block
  bool owes_constant = false;    // what smooth_k took off every score of a row is asked for: LSE, softcap, sinks
  bool modifies_scores = false;  // softcap, masks, ALiBi: scores and the fold's b are kept apart
  ColumnNeeds k_needs, v_needs;  // what must be known of a head before it can be packed
  bool q_statistics = false;     // Q's range must be known before it can become codes
  std::int64_t sum_keys = 0;     // keys after which an f16 accumulator rounds; 0: sums are f32

  std::int64_t key_block = 128;
  std::int64_t k_steps = 0;        // words of a Q or K row
  std::int64_t k_strip = 0;        // words of a strip of packed keys
  std::int64_t q_ld = 0;           // words between Q rows in scratch
  std::int64_t v_depth = 4;        // keys in one word of V
  std::int64_t weight_planes = 1;  // 2: high and low bytes of 16-bit codes
  std::int64_t v_columns = 0;      // Dv rounded up to whole vectors
  float softmax_scale = 1;
  float logit_scale = 1;  // softmax_scale * log2 e

  BlockLayout block;
  ThreadLayout thread;
  std::int64_t rows_per_task = 128;  // a divisor or a multiple of the query block
  std::int64_t query_blocks = 1;     // query blocks of a task
  std::int64_t tasks_per_head = 0;   // of the longest sequence
  std::int64_t longest_keys = 0;     // rounded up to key blocks
  std::int64_t total_blocks = 0, total_partials = 0, total_query_ranges = 0;
  std::int64_t k_width = 0, v_width = 0;  // channels, padded

  std::size_t head_bytes = 0, partial_bytes = 0;
  // Scratch of the whole call: byte offsets.
  std::size_t sequences_at = 0, heads_at = 0, partials_at = 0, query_ranges_at = 0, blocks_at = 0, threads_at = 0;
  std::size_t bytes = 0;
};

Plan make_plan(const Problem& problem, const PolicyTraits& policy, int threads);

// A plan and its scratch memory, with the accessors kernels use.
struct Call {
  const Plan* plan;
  std::byte* scratch;
};

OCTAVO_INLINE SequenceInfo* sequence_at(const Call& call, std::int64_t b) {
  return reinterpret_cast<SequenceInfo*>(call.scratch + call.plan->sequences_at) + b;
}
OCTAVO_INLINE HeadInfo* head_at(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const std::int64_t index = b * call.plan->problem->kv_heads + kv_head;
  return reinterpret_cast<HeadInfo*>(call.scratch + call.plan->heads_at +
                                     static_cast<std::size_t>(index) * call.plan->head_bytes);
}
OCTAVO_INLINE float* mean_of_keys(HeadInfo* head) { return reinterpret_cast<float*>(head + 1); }
OCTAVO_INLINE ValueVectors value_vectors(const Call& call, HeadInfo* head) {
  const std::int64_t width = call.plan->v_width;
  float* first = mean_of_keys(head) + call.plan->k_width;
  return {first, first + width, first + 2 * width, first + 3 * width};
}
inline constexpr std::int64_t kStatistics = 5;  // vectors of ColumnStatistics
OCTAVO_INLINE ColumnStatistics statistics_in(float* first, std::int64_t width) {
  return {first, first + width, {first + 2 * width, first + 3 * width, first + 4 * width}};
}
// Of stretch i of 128 rows.
OCTAVO_INLINE float* partial_at(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  const std::int64_t index = sequence.first_partial + kv_head * sequence.partials + i;
  return reinterpret_cast<float*>(call.scratch + call.plan->partials_at +
                                  static_cast<std::size_t>(index) * call.plan->partial_bytes);
}
OCTAVO_INLINE ColumnStatistics statistics_of_k(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  return statistics_in(partial_at(call, b, kv_head, i), call.plan->k_width);
}
OCTAVO_INLINE ColumnStatistics statistics_of_v(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const std::int64_t of_k = call.plan->k_needs.any() ? kStatistics * call.plan->k_width : 0;
  return statistics_in(partial_at(call, b, kv_head, i) + of_k, call.plan->v_width);
}
OCTAVO_INLINE QueryRange* query_range_at(const Call& call, std::int64_t b, std::int64_t head, std::int64_t i) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  return reinterpret_cast<QueryRange*>(call.scratch + call.plan->query_ranges_at) + sequence.first_query_range +
         head * sequence.query_ranges + i;
}
OCTAVO_INLINE std::byte* block_at(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  const std::int64_t index = sequence.first_block + kv_head * sequence.blocks + i;
  return call.scratch + call.plan->blocks_at + static_cast<std::size_t>(index) * call.plan->block.bytes;
}
template <class T>
OCTAVO_INLINE T* part(std::byte* base, std::size_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

}  // namespace octavo::cpu
