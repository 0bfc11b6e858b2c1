// The choices behind a plan: which products a recipe's formats and the policy's primitives lead to (16-bit floats only
// where no rotation, mean or scale has added digits to them), how many rows make a task, and the order of scratch
// memory.
#include "cpu/plan.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "cpu/features.hpp"
#include "cpu/operands/scratch.hpp"
#include "spec/kept_keys.hpp"
#include "spec/mean.hpp"

namespace octavo::cpu {
namespace {

constexpr std::int64_t round_up(std::int64_t x, std::int64_t unit) { return (x + unit - 1) / unit * unit; }

// Hands out 64-byte aligned stretches one after the other.
struct Layout64 {
  std::size_t end = 0;
  std::size_t take(std::int64_t bytes) {
    const std::size_t at = end;
    end += static_cast<std::size_t>(round_up(std::max<std::int64_t>(bytes, 0), 64));
    return at;
  }
};

using spec::is_float8;
using spec::is_integer;

void choose_forms(Plan& plan) {
  const Problem& problem = *plan.problem;
  const Recipe& recipe = problem.recipe;
  // bf16 products take FP8's numbers, or the caller's own; what a rotation or a mean made of them has more digits.
  const bool bf16_inputs = problem.q.dtype == DType::bf16 && !problem.q.quantized;
  const bool changes_scores = recipe.hadamard || recipe.smooth_q || recipe.smooth_k;
  const bool bf16_scores =
      is_float8(recipe.scores) || (recipe.scores == Format::input && bf16_inputs && !changes_scores);
  plan.qk_form = is_integer(recipe.scores) ? QkForm::s8 : plan.policy.bf16 && bf16_scores ? QkForm::bf16 : QkForm::f32;

  // A token's own scale, unless it is folded into the weights, is multiplied into its values: they are f32 then.
  const bool token_scales = recipe.v_scale == Granularity::token;
  const bool changes_values = recipe.hadamard_v || recipe.smooth_v;
  const bool bf16_values =
      (is_float8(recipe.p) && is_float8(recipe.values)) ||
      (recipe.p == WeightFormat::input && recipe.values == Format::input && bf16_inputs && !changes_values);
  plan.pv_form = is_integer(recipe.p) && is_integer(recipe.values) && !token_scales ? PvForm::s8
                 : plan.policy.bf16 && bf16_values && !token_scales                 ? PvForm::bf16
                                                                                    : PvForm::f32;
  plan.weight_planes = plan.pv_form == PvForm::s8 && recipe.p == WeightFormat::u16 ? 2 : 1;
  plan.qk_range = spec::range_of(recipe.scores);
  plan.v_range = spec::code_range(recipe, Role::v);
  if (recipe.accumulator == Accumulator::f16) plan.sum_keys = recipe.values == Format::f16 ? 16 : 32;
}

// Whether the recipe computes with the inputs as they are.
bool is_exact(const Problem& problem) {
  const Recipe& recipe = problem.recipe;
  return recipe.scores == Format::input && recipe.p == WeightFormat::input && recipe.values == Format::input &&
         recipe.accumulator == Accumulator::f32 && recipe.p_range == 1 && !problem.q.quantized &&
         !problem.k.quantized && !problem.v.quantized;
}

// Of a query block's kept keys, or of a short sequence.
std::int64_t most_kept_columns(const Recipe& recipe) {
  return std::max(spec::most_kept_columns(recipe.keep_near), spec::kAllKeptRows);
}

// Rows of one task. Few rows, so that every thread has work; many, so that the smooth_q_bias's pass over K is shared.
void split_tasks(Plan& plan, std::int64_t longest_queries, int threads) {
  const Problem& problem = *plan.problem;
  const std::int64_t heads = problem.batch * problem.q_heads;
  const auto tasks = [&](std::int64_t rows) { return heads * ((longest_queries + rows - 1) / rows); };
  plan.rows_per_task = spec::kQueryBlock;
  if (threads > 1)
    while (plan.rows_per_task > kGroupRows && tasks(plan.rows_per_task) < 4 * threads) plan.rows_per_task /= 2;
  if (plan.smooth_q)
    while (plan.rows_per_task >= spec::kQueryBlock && plan.rows_per_task < kMaxQueryBlocks * spec::kQueryBlock &&
           plan.rows_per_task < longest_queries && tasks(2 * plan.rows_per_task) >= 8 * threads)
      plan.rows_per_task *= 2;
  plan.query_blocks = std::max<std::int64_t>(1, plan.rows_per_task / spec::kQueryBlock);
  plan.tasks_per_head = (longest_queries + plan.rows_per_task - 1) / plan.rows_per_task;
}

}  // namespace

Plan make_plan(const Problem& problem, const PolicyTraits& policy, int threads) {
  Plan plan;
  static_cast<spec::CallSteps&>(plan) = spec::steps_of(problem);
  plan.problem = &problem;
  plan.policy = policy;
  plan.p_range = static_cast<float>(problem.recipe.p_range);
  plan.log2_p_range = std::log2(plan.p_range);
  choose_forms(plan);
  plan.interleaves_softmax = interleaves_softmax();
  plan.softmax_scale = static_cast<float>(problem.softmax_scale);
  plan.logit_scale = static_cast<float>(problem.softmax_scale * std::numbers::log2e);
  plan.key_block = problem.recipe.key_block;

  plan.exact = is_exact(problem);
  plan.all_short = true;
  std::int64_t longest_queries = 0, longest_keys = 0;
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    const Sequence rows = problem.sequence(b);
    longest_queries = std::max(longest_queries, rows.q_rows);
    longest_keys = std::max(longest_keys, rows.k_rows);
    plan.all_short = plan.all_short && is_short(plan, rows);
    plan.total_blocks += problem.kv_heads * ((rows.k_rows + plan.key_block - 1) / plan.key_block);
    plan.total_partials += problem.kv_heads * ((rows.k_rows + spec::kMeanBlock - 1) / spec::kMeanBlock);
    plan.total_query_ranges += problem.q_heads * ((rows.q_rows + spec::kQueryBlock - 1) / spec::kQueryBlock);
  }
  if (plan.all_short) plan.total_blocks = plan.total_partials = plan.total_query_ranges = 0;  // nothing is prepared
  plan.longest_keys = round_up(longest_keys, plan.key_block);
  split_tasks(plan, longest_queries, threads);

  plan.k_width = padded(problem.head_dim);
  plan.v_width = padded(problem.value_dim);
  const std::int64_t qk_depth = plan.qk_form == QkForm::s8 ? 4 : plan.qk_form == QkForm::bf16 ? 2 : 1;
  plan.v_depth = plan.pv_form == PvForm::s8 ? 4 : plan.pv_form == PvForm::bf16 ? 2 : 1;
  plan.k_steps = (problem.head_dim + qk_depth - 1) / qk_depth;
  plan.q_ld = plan.k_width / qk_depth;
  plan.v_columns = round_up(problem.value_dim, policy.lanes);

  plan.k_strip = round_up(plan.k_steps, policy.lanes) * kStrip;

  Layout64 block;
  plan.block.keys = block.take(plan.k_strip * (plan.key_block / kStrip) * 4);
  plan.block.values = block.take(plan.key_block / plan.v_depth * plan.v_columns * 4);
  plan.block.key_factor = block.take(plan.key_block * 4);
  plan.block.key_addend = block.take(plan.key_block * 4);
  plan.block.inverse = block.take(plan.key_block * 4);
  plan.block.fold = block.take(plan.score_mod ? plan.key_block * 4 : 0);
  plan.block.v_scale = block.take(plan.key_block * 4);
  plan.block.v_start = block.take(plan.v_columns * 4);
  plan.block.column_scale = block.take(plan.v_block_scales ? plan.v_columns * 4 : 0);
  plan.block.flags = block.take(static_cast<std::int64_t>(sizeof(BlockFlags)));
  plan.block.bytes = block.end;

  const std::int64_t rows = spec::kQueryBlock, query_blocks = plan.query_blocks;
  Layout64 thread;
  plan.thread.rows = thread.take(rows * std::max(plan.k_width, plan.v_width) * 4);
  plan.thread.mean = thread.take(kMaxQueryBlocks * plan.k_width * 4);
  plan.thread.queries = thread.take(query_blocks * rows * plan.q_ld * 4);
  plan.thread.queries_low = thread.take(query_blocks * rows * plan.q_ld * 4);
  plan.thread.row_vectors = thread.take(query_blocks * static_cast<std::int64_t>(sizeof(QueryVectors)));
  plan.thread.smooth_q_bias = thread.take(plan.smooth_q ? query_blocks * plan.longest_keys * 4 : 0);
  plan.thread.block_offsets = thread.take(
      plan.block_means ? query_blocks * rows * round_up(longest_keys, spec::kMeanBlock) / spec::kMeanBlock * 4 : 0);
  plan.thread.scores = thread.take(2 * kGroupRows * plan.key_block * 4);
  const std::int64_t weight_bytes = query_blocks * rows * plan.key_block / plan.v_depth * 4;
  plan.thread.weights = thread.take(weight_bytes);
  plan.thread.weights_low = thread.take(plan.weight_planes == 2 ? weight_bytes : 0);
  plan.thread.out = thread.take(query_blocks * rows * plan.v_columns * 4);
  plan.thread.kept = thread.take(
      plan.keeps || plan.exact ? most_kept_columns(problem.recipe) * (plan.k_width + plan.v_width + 1) * 4 : 0);
  plan.thread.bytes = thread.end;

  const std::int64_t k_stats = plan.k_needs.any() ? plan.k_width : 0;
  const std::int64_t v_stats = plan.v_needs.any() ? plan.v_width : 0;
  plan.head_bytes =
      sizeof(HeadInfo) +
      static_cast<std::size_t>((plan.k_width + 4 * plan.v_width + (plan.qk_gains ? 2 : 0) * plan.k_width) * 4);
  plan.partial_bytes =
      static_cast<std::size_t>((kChannelStats * (k_stats + v_stats) + (k_stats > 0 ? spec::kMeanBlock : 0) +
                                (plan.block_means ? 2 * plan.k_width : 0)) *
                               4);
  Layout64 all;
  plan.sequences_at = all.take(problem.batch * static_cast<std::int64_t>(sizeof(SequenceInfo)));
  const std::int64_t heads = plan.all_short ? 0 : problem.batch * problem.kv_heads;
  plan.heads_at = all.take(heads * static_cast<std::int64_t>(plan.head_bytes));
  plan.partials_at = all.take(plan.total_partials * static_cast<std::int64_t>(plan.partial_bytes));
  plan.query_ranges_at =
      all.take(plan.q_range ? plan.total_query_ranges * static_cast<std::int64_t>(sizeof(QueryRange)) : 0);
  plan.query_spreads_at = all.take(plan.qk_gains ? plan.total_query_ranges * plan.k_width * 4 : 0);
  plan.seen_at = all.take(plan.hides_keys ? problem.batch * problem.kv_heads * plan.longest_keys : 0);
  plan.blocks_at = all.take(plan.total_blocks * static_cast<std::int64_t>(plan.block.bytes));
  plan.threads_at = all.take(threads * static_cast<std::int64_t>(plan.thread.bytes));
  plan.bytes = all.end;
  return plan;
}

}  // namespace octavo::cpu
