#include "cpu/plan.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/tile_config.hpp"
#include "laws/mean.hpp"
#include "laws/scale.hpp"

namespace octavo::cpu {
namespace {

constexpr std::int64_t round_up(std::int64_t x, std::int64_t unit) { return (x + unit - 1) / unit * unit; }
constexpr std::int64_t padded_channels(std::int64_t channels) { return round_up(channels, 64); }

// Hands out 64-byte aligned stretches one after the other.
struct Layout64 {
  std::size_t end = 0;
  std::size_t take(std::int64_t bytes) {
    const std::size_t at = end;
    end += static_cast<std::size_t>(round_up(std::max<std::int64_t>(bytes, 0), 64));
    return at;
  }
};

void choose_forms(Plan& plan) {
  const Problem& problem = *plan.problem;
  const Recipe& recipe = problem.recipe;
  const bool bf16 = plan.policy.bf16 && problem.q.dtype == DType::bf16 && !problem.q.quantized;
  // bf16 products take the caller's own numbers; what a rotation or a mean made of them has more digits than bf16.
  const bool changes_scores = recipe.hadamard || recipe.smooth_q || recipe.smooth_k;
  if (recipe.scores == Format::input) {
    plan.score = bf16 && !changes_scores ? ScoreForm::bf16 : ScoreForm::f32;
  } else {
    plan.score = ScoreForm::s8;
    plan.qk_range = recipe.scores == Format::s4 ? laws::kRangeS4 : laws::kRangeS8;
  }
  if (recipe.values == Format::input) {
    plan.value = bf16 && !recipe.hadamard_v ? ValueForm::bf16 : ValueForm::f32;
  } else if (recipe.values == Format::f16) {
    plan.value = ValueForm::f16_as_f32;
  } else {
    plan.value = ValueForm::s8;
    plan.v_range = recipe.values == Format::s4 ? laws::kRangeS4 : laws::kRangeS8;
  }
  const bool integer_weights = recipe.p == WeightFormat::s8 || recipe.p == WeightFormat::u8;
  plan.log2_p_range = integer_weights ? std::log2(static_cast<float>(recipe.p_range)) : 0.0f;
  plan.running_maximum = recipe.p_reference == MaximumReference::running;
  plan.sum_codes = recipe.row_sum == RowSum::codes;
  plan.fold = recipe.v_scale == Granularity::token_folded;
  plan.rotate_qk = recipe.hadamard;
  plan.rotate_v = recipe.hadamard_v;
  plan.smooth_q = recipe.smooth_q;
  plan.smooth_k = recipe.smooth_k;
  plan.owes_constant =
      recipe.smooth_k && (problem.lse != nullptr || problem.softcap > 0 || problem.sinks.data != nullptr);
  plan.modifies_scores = problem.modifies_scores();
  plan.v_statistics = !problem.v.quantized && (recipe.values == Format::f16 ||
                                               (plan.value == ValueForm::s8 && recipe.v_scale == Granularity::tensor));
}

// Rows of one task. Few rows, so that every thread has work; many, so that the correction's pass over K is shared.
void split_tasks(Plan& plan, std::int64_t longest_queries, int threads) {
  const Problem& problem = *plan.problem;
  const std::int64_t heads = problem.batch * problem.q_heads;
  const auto tasks = [&](std::int64_t rows) { return heads * ((longest_queries + rows - 1) / rows); };
  plan.rows_per_task = laws::kQueryBlock;
  if (threads > 1)
    while (plan.rows_per_task > kGroupRows && tasks(plan.rows_per_task) < 4 * threads) plan.rows_per_task /= 2;
  if (plan.smooth_q)
    while (plan.rows_per_task >= laws::kQueryBlock && plan.rows_per_task < kMaxQueryBlocks * laws::kQueryBlock &&
           plan.rows_per_task < longest_queries && tasks(2 * plan.rows_per_task) >= 8 * threads)
      plan.rows_per_task *= 2;
  plan.query_blocks = std::max<std::int64_t>(1, plan.rows_per_task / laws::kQueryBlock);
  plan.tasks_per_head = (longest_queries + plan.rows_per_task - 1) / plan.rows_per_task;
}

}  // namespace

Plan make_plan(const Problem& problem, const PolicyTraits& policy, int threads) {
  Plan plan;
  plan.problem = &problem;
  plan.policy = policy;
  choose_forms(plan);
  plan.softmax_scale = static_cast<float>(problem.softmax_scale);
  plan.logit_scale = static_cast<float>(problem.softmax_scale * 1.4426950408889634);
  plan.key_block = problem.recipe.key_block;

  std::int64_t longest_queries = 0, longest_keys = 0;
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    const Sequence rows = problem.sequence(b);
    longest_queries = std::max(longest_queries, rows.q_rows);
    longest_keys = std::max(longest_keys, rows.k_rows);
    plan.total_blocks += problem.kv_heads * ((rows.k_rows + plan.key_block - 1) / plan.key_block);
    plan.total_partials += problem.kv_heads * ((rows.k_rows + laws::kMeanBlock - 1) / laws::kMeanBlock);
  }
  plan.longest_keys = round_up(longest_keys, plan.key_block);
  split_tasks(plan, longest_queries, threads);

  const std::int64_t width = padded_channels(problem.head_dim);
  const std::int64_t qk_depth = plan.score == ScoreForm::s8 ? 4 : plan.score == ScoreForm::bf16 ? 2 : 1;
  plan.v_depth = plan.value == ValueForm::s8 ? 4 : plan.value == ValueForm::bf16 ? 2 : 1;
  plan.k_steps = (problem.head_dim + qk_depth - 1) / qk_depth;
  plan.q_ld = width / qk_depth;
  plan.v_columns = round_up(problem.value_dim, policy.lanes);

  Layout64 block;
  plan.block.keys = block.take(round_up(plan.k_steps, policy.lanes) * plan.key_block * 4);
  plan.block.values = block.take(plan.key_block / plan.v_depth * plan.v_columns * 4);
  plan.block.key_factor = block.take(plan.key_block * 4);
  plan.block.key_addend = block.take(plan.key_block * 4);
  plan.block.inverse = block.take(plan.key_block * 4);
  plan.block.fold = block.take(plan.modifies_scores ? plan.key_block * 4 : 0);
  plan.block.v_scale = block.take(plan.key_block * 4);
  plan.block.v_start = block.take(plan.v_columns * 4);
  plan.block.bytes = block.end;

  const std::int64_t rows = laws::kQueryBlock, slots = plan.query_blocks;
  Layout64 thread;
  plan.thread.rows = thread.take(rows * width * 4);
  plan.thread.mean = thread.take(kMaxQueryBlocks * width * 4);
  plan.thread.queries = thread.take(slots * rows * plan.q_ld * 4);
  plan.thread.queries_low = thread.take(slots * rows * plan.q_ld * 4);
  plan.thread.row_vectors = thread.take(slots * static_cast<std::int64_t>(sizeof(QueryVectors)));
  plan.thread.correction = thread.take(plan.smooth_q ? slots * plan.longest_keys * 4 : 0);
  plan.thread.scores = thread.take(2 * kGroupRows * plan.key_block * 4);
  plan.thread.weights = thread.take(slots * rows * plan.key_block / plan.v_depth * 4);
  plan.thread.out = thread.take(slots * rows * plan.v_columns * 4);
  plan.thread.bytes = thread.end;

  plan.head_bytes = static_cast<std::size_t>(64 + width * 4);
  plan.partial_bytes = static_cast<std::size_t>(64 + 2 * width * 4);
  Layout64 all;
  plan.sequences_at = all.take(problem.batch * static_cast<std::int64_t>(sizeof(SequenceInfo)));
  plan.heads_at = all.take(problem.batch * problem.kv_heads * static_cast<std::int64_t>(plan.head_bytes));
  plan.partials_at = all.take(plan.total_partials * static_cast<std::int64_t>(plan.partial_bytes));
  plan.blocks_at = all.take(plan.total_blocks * static_cast<std::int64_t>(plan.block.bytes));
  plan.threads_at = all.take(threads * static_cast<std::int64_t>(plan.thread.bytes));
  plan.bytes = all.end;
  return plan;
}

}  // namespace octavo::cpu
