// What a call means in terms of the kernels: the form each operand takes, where everything lies in scratch memory, and
// the split into tasks. Made once per call; nothing in it that can touch a result depends on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "core/problem.hpp"
#include "laws/granularity.hpp"

namespace octavo::cpu {

// How Q and K enter the first product, weights and V the second.
enum class ScoreForm : std::uint8_t { s8, f32, bf16 };
enum class ValueForm : std::uint8_t { s8, f32, f16_as_f32, bf16 };

// What a policy asks of the layout of packed operands (cpu/simd/policy.hpp).
struct PolicyTraits {
  int lanes = 1;
  int key_bias = 0;
  int weight_bias = 0;
  bool bf16 = false;
};

// Byte offsets of the parts of one packed key block.
struct BlockLayout {
  std::size_t keys = 0;        // [k_steps][key_block] words
  std::size_t values = 0;      // [key_block / v_depth][v_columns] words
  std::size_t key_factor = 0;  // f32 [key_block]: scale of K * logit_scale
  std::size_t key_addend = 0;  // f32 [key_block]: b of the fold; -infinity: no such key; NaN: poisoned
  std::size_t inverse = 0;     // f32 [key_block]: 1 / s~ of the fold
  std::size_t fold = 0;        // f32 [key_block]: b of the fold where it is not part of key_addend
  std::size_t v_scale = 0;     // f32 [key_block]: raw scale of a token of V (the fold)
  std::size_t v_start = 0;     // s32 [v_columns]: weight bias times the block's column sums
  std::size_t bytes = 0;
};

// Byte offsets of the parts of one thread's scratch.
struct ThreadLayout {
  std::size_t rows = 0;         // f32 [128][padded D]: rows before they become codes
  std::size_t mean = 0;         // f32 [query_blocks][padded D]: smooth_q's means, rotated back for the correction
  std::size_t queries = 0;      // [query_blocks][128][q_ld] words
  std::size_t queries_low = 0;  // likewise: low plane of 16-bit queries
  std::size_t row_vectors = 0;  // QueryVectors [query_blocks]
  std::size_t correction = 0;   // f32 [query_blocks][keys]: key addend of the block (smooth_q)
  std::size_t scores = 0;       // f32 [2][kGroupRows][key_block]
  std::size_t weights = 0;      // words [query_blocks][128][key_block / v_depth]
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
};

// One (sequence, KV head) after its statistics. The mean of K follows it in memory, f32 [padded D].
struct HeadInfo {
  std::int64_t pending_partials = 0, pending_blocks = 0;  // tasks to go; who takes the last one finishes the head
  float v_scale = 1, v_inverse = 1;                       // per-tensor V; f16 V: its power of two
  float out_scale = 1;                                    // what O / l is multiplied by
};

// Statistics of 128 rows of K and V. Sums and counts of K's channels follow it, f32 [2][padded D].
struct PartialInfo {
  float v_amax = 0;
  bool v_finite = true;
};

inline constexpr std::int64_t kQueryBlock = laws::kQueryBlock;

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
  float log2_p_range = 0;  // part of every shift; leaves with beta
  bool running_maximum = false, sum_codes = false;
  bool fold = false;
  bool rotate_qk = false, rotate_v = false, smooth_q = false, smooth_k = false;
  bool owes_constant = false;    // what smooth_k took off every score of a row is asked for: LSE, softcap, sinks
  bool modifies_scores = false;  // softcap, masks, ALiBi: scores and the fold's b are kept apart
  bool v_statistics = false;     // V needs its amax before it can be packed

  std::int64_t key_block = 128;
  std::int64_t k_steps = 0;    // words of a Q or K row
  std::int64_t q_ld = 0;       // words between Q rows in scratch
  std::int64_t v_depth = 4;    // keys in one word of V
  std::int64_t v_columns = 0;  // Dv rounded up to whole vectors
  float softmax_scale = 1;
  float logit_scale = 1;  // softmax_scale * log2 e

  BlockLayout block;
  ThreadLayout thread;
  std::int64_t rows_per_task = 128;  // a divisor or a multiple of the query block
  std::int64_t query_blocks = 1;     // query blocks of a task
  std::int64_t tasks_per_head = 0;   // of the longest sequence
  std::int64_t longest_keys = 0;     // rounded up to key blocks
  std::int64_t total_blocks = 0, total_partials = 0;

  std::size_t head_bytes = 0, partial_bytes = 0;
  // Scratch of the whole call: byte offsets.
  std::size_t sequences_at = 0, heads_at = 0, partials_at = 0, blocks_at = 0, threads_at = 0;
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
OCTAVO_INLINE float* mean_of_keys(HeadInfo* head) { return reinterpret_cast<float*>(head + 2); }
OCTAVO_INLINE PartialInfo* partial_at(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  const std::int64_t index = sequence.first_partial + kv_head * sequence.partials + i;
  return reinterpret_cast<PartialInfo*>(call.scratch + call.plan->partials_at +
                                        static_cast<std::size_t>(index) * call.plan->partial_bytes);
}
OCTAVO_INLINE float* sums_of(PartialInfo* partial) { return reinterpret_cast<float*>(partial + 8); }
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
