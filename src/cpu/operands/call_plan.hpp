// What a call means to the kernels: the form of each operand, the layout of scratch memory, the split into tasks. Plain
// data, filled by make_plan() (cpu/plan.hpp). Nothing that can affect a result depends on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/problem.hpp"
#include "cpu/operands/packed_block.hpp"
#include "spec/call_steps.hpp"
#include "spec/granularity.hpp"
#include "spec/kept_keys.hpp"

namespace octavo::cpu {

// What the layout of packed operands depends on in a policy (cpu/simd/policy.hpp).
struct PolicyTraits {
  int lanes = 1;
  int key_bias = 0;
  int weight_bias = 0;
  bool bf16 = false;
};

inline constexpr std::int64_t kQueryBlock = spec::kQueryBlock;

// Byte offsets of the parts of one thread's scratch.
struct ThreadLayout {
  std::size_t rows = 0;           // f32 [128][padded D or Dv]: rows before they become codes
  std::size_t mean = 0;           // f32 [query_blocks][padded D]: smooth_q's means, rotated back for smooth_q_bias
  std::size_t queries = 0;        // [query_blocks][128][q_ld] words
  std::size_t queries_low = 0;    // likewise: low plane of 16-bit queries
  std::size_t row_vectors = 0;    // QueryVectors [query_blocks]
  std::size_t smooth_q_bias = 0;  // f32 [query_blocks][keys]: key addend of the block (smooth_q)
  std::size_t block_offsets = 0;  // f32 [longest keys / 128][query_blocks * 128] (spec/block_mean.hpp)
  std::size_t scores = 0;         // f32 [2][kGroupRows][key_block]
  std::size_t weights = 0;        // words [query_blocks][128][key_block / v_depth]
  std::size_t weights_low = 0;    // likewise: low bytes of 16-bit codes
  std::size_t out = 0;            // f32 [query_blocks][128][v_columns]
  std::size_t kept = 0;           // kept keys of a query block, gathered (attention/kept_keys.hpp)
  std::size_t bytes = 0;
};

// Query rows first..first+rows-1 of one (sequence, head).
struct AttentionTask {
  std::int64_t batch = 0, head = 0, first = 0, rows = 0;
};

struct Plan : spec::CallSteps {
  const Problem* problem = nullptr;
  PolicyTraits policy;

  QkForm qk_form = QkForm::s8;
  PvForm pv_form = PvForm::s8;
  float qk_range = 127, v_range = 127;
  float p_range = 1, log2_p_range = 0;  // R of the weights; beta divides by it
  std::int64_t sum_keys = 0;            // keys after which an f16 accumulator rounds; 0: sums are f32

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
  bool exact = false;                // the recipe rounds nothing: short sequences take attention/short_sequence.hpp
  bool all_short = false;            // all sequences do
  std::int64_t longest_keys = 0;     // rounded up to key blocks
  std::int64_t total_blocks = 0, total_partials = 0, total_query_ranges = 0;
  std::int64_t k_width = 0, v_width = 0;  // channels, padded

  bool interleaves_softmax = true;  // where an implementation can (cpu/features.hpp)

  std::size_t head_bytes = 0, partial_bytes = 0;
  // Scratch of the whole call: byte offsets.
  std::size_t sequences_at = 0, heads_at = 0, partials_at = 0, query_ranges_at = 0, query_spreads_at = 0, seen_at = 0,
              blocks_at = 0, threads_at = 0;
  std::size_t bytes = 0;
};

// Whether a sequence is computed by attention/short_sequence.hpp.
OCTAVO_INLINE bool is_short(const Plan& plan, const Sequence& rows) {
  return plan.exact ? spec::is_short(rows.q_rows, rows.k_rows)
                    : plan.keeps && spec::keeps_all(plan.problem->recipe, rows.q_rows, rows.k_rows);
}

}  // namespace octavo::cpu
