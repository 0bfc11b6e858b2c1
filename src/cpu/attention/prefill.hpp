// FlashAttention's online softmax over packed key blocks, with the three stages that the recipe selects.
// Per query row: m the running maximum (base 2), l the row sum, O the weighted values, all f32:
//   t = max_j T_j over the block,  m' = max(m, t),  alpha = 2^(m - m'),  beta = 2^(t - m') / R   (codes relative to t)
//   l = alpha l + beta sum_j w_j,   O = alpha O + beta sum_j c_j V_j
// With codes relative to the running maximum (INT-FlashAttention, algorithm 1) t is m' and beta 1 / R.
#pragma once

#include "cpu/attention/epilogue.hpp"
#include "cpu/attention/mask.hpp"
#include "cpu/attention/score_mod.hpp"
#include "cpu/attention/short_sequence.hpp"
#include "cpu/attention/smooth_q_bias.hpp"

namespace octavo::cpu {
namespace {

OCTAVO_INLINE std::int64_t in_key_steps(std::int64_t keys) { return (keys + kKeyStep - 1) / kKeyStep * kKeyStep; }

// What a task needs at every key block.
struct TaskState {
  const Call* call;
  const Stages* stages;
  const AttentionTask* task;
  std::byte* thread;
  std::int64_t kv_head;
  bool block_means;        // of K
  bool has_smooth_q_bias;  // smooth_q's smooth_q_bias stands in for the keys' own addend
  spec::PositionMask mask;
  spec::KeptKeys kept;  // computed apart (kept_keys.hpp)
};

// How many first keys are still to be hidden: smooth_q_bias, where there is one, has hidden them.
OCTAVO_INLINE std::int64_t first_kept_keys(const TaskState& state) {
  return state.has_smooth_q_bias ? 0 : state.kept.first;
}

// The keys that the query blocks of a task keep because of their weight.
struct HeavyKeys {
  std::int64_t count[kMaxQueryBlocks];
  std::int64_t keys[kMaxQueryBlocks][spec::kMostKeptHeavy];
};

// Finds them, and hides them and the first keys from the quantized product: both are hidden from all rows of the block.
template <class S>
OCTAVO_INLINE void find_heavy_keys(const TaskState& state, std::int64_t query_blocks, HeavyKeys& heavy) {
  const Plan& plan = *state.call->plan;
  const AttentionTask& task = *state.task;
  for (std::int64_t i = 0; i < query_blocks; ++i) {
    float* bias = part<float>(state.thread, plan.thread.smooth_q_bias) + i * plan.longest_keys;
    const std::int64_t first = task.first + i * kQueryBlock, end = task.first + task.rows;
    // A task may be a part of a query block: the keys are those of the whole block.
    const std::int64_t block_first = first / kQueryBlock * kQueryBlock;
    const std::int64_t block_last =
        block_first + kQueryBlock < state.mask.queries ? block_first + kQueryBlock : state.mask.queries;
    const spec::KeyRange seen = spec::visible_keys_of_rows(
        state.mask.causal, state.mask.window_left, state.mask.window_right, state.mask.queries, state.mask.keys, first,
        first + kQueryBlock < end ? first + kQueryBlock : end);
    const spec::KeyRange candidates = spec::heavy_candidates(state.kept, state.mask, block_first, block_last);
    const bool apart = plan.score_mod && plan.fold;
    heavy.count[i] =
        find_heaviest<S>(candidates, state.kept.heavy, heavy.keys[i], apart ? nullptr : bias, [&](std::int64_t j) {
          std::byte* block = block_at(*state.call, task.batch, state.kv_head, j / plan.key_block);
          return bias[j] + part<float>(block, plan.block.fold)[j % plan.key_block];
        });
    for (std::int64_t j = seen.begin; j < state.kept.first && j < seen.end; ++j) bias[j] = -__builtin_inff();
    for (std::int64_t j = 0; j < heavy.count[i]; ++j) bias[heavy.keys[i][j]] = -__builtin_inff();
  }
}

// Softcap, masks and ALiBi on a row group's scores.
template <class S>
OCTAVO_INLINE void apply_score_mods(const TaskState& state, const Sequence& sequence, const RowGroup& group,
                                    std::int64_t row, std::int64_t first_key, std::int64_t keys, const float* constants,
                                    const float* block_offsets, float* scores) {
  const Plan& plan = *state.call->plan;
  const Problem& problem = *plan.problem;
  alignas(64) float bias[kMaxKeyBlock];
  for (int i = 0; i < group.rows; ++i) {
    const spec::KeyRange seen = spec::visible_keys(problem.causal, problem.window_left, problem.window_right,
                                                   sequence.q_rows, sequence.k_rows, row + i);
    RowBias terms = bias_of_row(problem, sequence, state.task->batch, state.task->head, row + i, seen);
    terms.mask_row_max = group.mask_row_max[i];
    const float constant = block_offsets != nullptr ? constants[i] + block_offsets[i] * spec::kLn2 : constants[i];
    score_mod_row<S>(terms, constant, first_key, keys, sequence.k_rows, scores + i * plan.key_block, bias);
  }
}

// Parameters of the qk stage of row group g and a key block.
template <class S>
OCTAVO_INLINE QkStage qk_of_group(const TaskState& state, std::byte* block, std::int64_t first_key, std::int64_t g,
                                  const RowGroup& group, float* scores, float* row_max) {
  const Plan& plan = *state.call->plan;
  const std::int64_t query_block = g / kQueryBlockGroups, row = g % kQueryBlockGroups * kGroupRows;
  const std::int64_t at = (query_block * kQueryBlock + row) * plan.q_ld;
  const QueryVectors& queries = part<QueryVectors>(state.thread, plan.thread.row_vectors)[query_block];
  return {.q = part<std::int32_t>(state.thread, plan.thread.queries) + at,
          .q_low = part<std::int32_t>(state.thread, plan.thread.queries_low) + at,
          .q_ld = plan.q_ld,
          .start = queries.start + row,
          .start_low = queries.start_low + row,
          .row_factor = queries.factor + row,
          .k = part<std::int32_t>(block, plan.block.keys),
          .k_strip = plan.k_strip,
          .steps = plan.k_steps,
          .key_factor = part<float>(block, plan.block.key_factor),
          .key_addend = state.has_smooth_q_bias ? part<float>(state.thread, plan.thread.smooth_q_bias) +
                                                      query_block * plan.longest_keys + first_key
                                                : part<float>(block, plan.block.key_addend),
          .scores = scores,
          .ld = plan.key_block,
          .row_max = row_max,
          .full_range_s8 = part<BlockFlags>(block, plan.block.flags)->full_range_s8_in_k,
          .rows = group.rows,
          .keys = in_key_steps(group.keys)};
}

// Between qk and softmax: score_mod, masks by position, the fold's b where it was not part of the key addend, and the
// step of the online softmax.
template <class S>
OCTAVO_INLINE void apply_masks_and_update_max(const TaskState& state, std::byte* block, std::int64_t first_key,
                                              std::int64_t g, RowGroup& group, const float* key_addend, float* scores,
                                              float* row_max, float* shift) {
  const Plan& plan = *state.call->plan;
  const Sequence sequence = sequence_at(*state.call, state.task->batch)->rows;
  const std::int64_t first_row = state.task->first + g * kGroupRows, keys = in_key_steps(group.keys);
  const QueryVectors& queries = part<QueryVectors>(state.thread, plan.thread.row_vectors)[g / kQueryBlockGroups];
  // What the block's own mean of K adds to the scores of a row; softcap needs whole scores, else it joins the maxima.
  const float* block_offsets =
      state.block_means ? block_offsets_at(plan, state.thread, first_key / spec::kMeanBlock) + g * kGroupRows : nullptr;
  if (plan.score_mod)
    apply_score_mods<S>(state, sequence, group, first_row, first_key, keys,
                        queries.smooth_k_logit_offset + g % kQueryBlockGroups * kGroupRows, block_offsets, scores);
  if (plan.score_mod || group.seen_by_all.begin > first_key ||
      (group.seen_by_all.end < first_key + keys && group.seen_by_all.end < sequence.k_rows))
    mask_by_position<S>(*plan.problem, sequence, first_row, group.rows, first_key, keys, plan.key_block, scores,
                        row_max);
  if (plan.hides_keys)
    mask_nan_rows<S>(queries.factor + g % kQueryBlockGroups * kGroupRows, key_addend, group.rows, keys, plan.key_block,
                     scores, row_max);
  const std::int64_t first_kept = first_kept_keys(state);
  if (!group.near_alike &&
      (first_key < first_kept || (group.near.begin < first_key + keys && group.near.end > first_key)))
    mask_kept_keys<S>(state.kept, state.mask, first_kept, first_row, group.rows, first_key, keys, plan.key_block,
                      scores, row_max);
  alignas(64) float score_offset[kGroupRows] = {};
  if (plan.score_mod && plan.fold) {
    for (int i = 0; i < group.rows; ++i) {
      score_offset[i] = row_max[i] == -__builtin_inff() ? 0.0f : row_max[i];
      row_max[i] = fold_row<S>(scores + i * plan.key_block, part<float>(block, plan.block.fold), keys, row_max[i]);
    }
  }
  for (int i = 0; block_offsets != nullptr && plan.problem->softcap == 0 && i < group.rows; ++i)
    score_offset[i] += block_offsets[i];
  online_softmax_update<S>(plan, row_max, score_offset, group, shift);
  if (plan.pv_form == PvForm::s8) bring_near_zero<S>(shift, group.rows, keys, plan.key_block, scores);
}

// Scores and weights of the task's row groups against a key block. Where the two stages overlap, the softmax of a group
// runs with the qk of the next one, so scores have two buffers that alternate.
template <class S>
OCTAVO_INLINE void qk_and_softmax_of_block(const TaskState& state, std::byte* block, std::int64_t first_key,
                                           std::int64_t used, RowGroup* groups) {
  const Plan& plan = *state.call->plan;
  const Stages& stages = *state.stages;
  const std::int64_t weights_ld = plan.key_block / plan.v_depth;
  auto* weights = part<std::int32_t>(state.thread, plan.thread.weights);
  auto* weights_low = part<std::int32_t>(state.thread, plan.thread.weights_low);
  float* buffers = part<float>(state.thread, plan.thread.scores);
  alignas(64) float row_max[kGroupRows], shift[2][kGroupRows], row_sum[kGroupRows], addend[kMaxKeyBlock];
  RowGroup* waiting = nullptr;  // its scores are masked, its weights not yet computed
  SoftmaxStage pending{};
  int side = 0;
  for (std::int64_t g = 0; g < used; ++g) {
    RowGroup& group = groups[g];
    if (group.keys <= 0) continue;
    float* scores = buffers + side * kGroupRows * plan.key_block;
    QkStage stage = qk_of_group<S>(state, block, first_key, g, group, scores, row_max);
    if (group.near_alike)
      stage.key_addend =
          hide_kept_keys(stage.key_addend, first_kept_keys(state), group.near, first_key, stage.keys, addend);
    if (waiting != nullptr) {
      stages.qk_and_softmax(stage, pending);
      add_row_sums<S>(*waiting, row_sum);
      waiting = nullptr;
    } else {
      stages.qk(stage);
    }
    apply_masks_and_update_max<S>(state, block, first_key, g, group, stage.key_addend, scores, row_max, shift[side]);
    pending = {.scores = scores,
               .shift = shift[side],
               .range = plan.p_range,
               .inverse = plan.fold ? part<float>(block, plan.block.inverse) : nullptr,
               .weights = weights + g * kGroupRows * weights_ld,
               .weights_low = weights_low + g * kGroupRows * weights_ld,
               .format = plan.problem->recipe.p,
               .sum_codes = plan.sum_codes,
               .ld = plan.key_block,
               .row_sum = row_sum,
               .rows = group.rows,
               .keys = stage.keys};
    if (stages.qk_and_softmax != nullptr) {
      waiting = &group;
      side = 1 - side;
    } else {
      stages.softmax(pending);
      add_row_sums<S>(group, row_sum);
    }
  }
  if (waiting != nullptr) {
    stages.softmax(pending);
    add_row_sums<S>(*waiting, row_sum);
  }
}

// The task's query blocks against all keys they see. Key blocks are the outer loop: a block of K and V is fetched once
// for all the task's rows; within it the scores and weights of all rows come first, then their values, so that K's
// part, then V's, stays in the first-level cache.
template <class S>
void attend(const Call& call, const Stages& stages, const AttentionTask& task, std::byte* thread) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, task.batch)->rows;
  if (is_short(plan, sequence)) return attend_short<S>(call, task, task.head + 1, thread);
  const std::int64_t key_block = plan.key_block, weights_ld = key_block / plan.v_depth;
  const spec::PositionMask mask = position_mask(problem, sequence);
  HeavyKeys heavy;
  for (std::int64_t& count : heavy.count) count = 0;
  const TaskState state{&call,
                        &stages,
                        &task,
                        thread,
                        problem.kv_head(task.head),
                        head_at(call, task.batch, problem.kv_head(task.head))->block_means,
                        spec::has_smooth_q_bias(problem, sequence.q_rows),
                        mask,
                        plan.keeps ? spec::kept_keys_of(problem.recipe, mask) : spec::KeptKeys{}};
  const auto* weights = part<std::int32_t>(thread, plan.thread.weights);
  const auto* weights_low = part<std::int32_t>(thread, plan.thread.weights_low);
  float* out = part<float>(thread, plan.thread.out);
  const auto seen_by = [&](std::int64_t from, std::int64_t to) __attribute__((always_inline)) {
    return spec::visible_keys_of_rows(problem.causal, problem.window_left, problem.window_right, sequence.q_rows,
                                      sequence.k_rows, from, to);
  };
  const spec::KeyRange seen = seen_by(task.first, task.first + task.rows);
  const std::int64_t first_block = seen.begin / key_block, last_block = (seen.end + key_block - 1) / key_block;

  RowGroup groups[kMaxQueryBlocks * kQueryBlockGroups];
  std::int64_t used = 0, query_blocks = 0;
  for (; used * kGroupRows < task.rows; ++used) {
    const std::int64_t row = used * kGroupRows, left = task.rows - row;
    start_group(groups[used], task.first + row, static_cast<int>(left < kGroupRows ? left : kGroupRows), seen_by);
    find_row_offsets<S>(call, task.batch, task.head, state.kv_head, task.first + row, groups[used]);
    groups[used].near = near_keys_of_rows(state.kept, mask, task.first + row, task.first + row + groups[used].rows);
    groups[used].near_alike =
        spec::keeps_any(state.kept) &&
        spec::near_strip(mask, task.first + row) == spec::near_strip(mask, task.first + row + groups[used].rows - 1);
  }
  for (std::int64_t row = 0; row < task.rows; row += kQueryBlock, ++query_blocks)
    pack_queries<S>(call, thread, query_blocks, task.batch, task.head, task.first + row,
                    task.rows - row < kQueryBlock ? task.rows - row : kQueryBlock);
  if (state.has_smooth_q_bias) {
    // Heavy keys are those of whole query blocks, of which a task may have a part.
    spec::KeyRange of_blocks = seen;
    if (state.kept.heavy > 0) {
      const std::int64_t end = (task.first + task.rows + kQueryBlock - 1) / kQueryBlock * kQueryBlock;
      of_blocks = seen_by(task.first / kQueryBlock * kQueryBlock, end < sequence.q_rows ? end : sequence.q_rows);
    }
    add_smooth_q_bias<S>(call, thread, query_blocks, task.batch, state.kv_head, of_blocks.begin / key_block,
                         (of_blocks.end + key_block - 1) / key_block);
  }
  if (state.has_smooth_q_bias && spec::keeps_any(state.kept)) find_heavy_keys<S>(state, query_blocks, heavy);
  std::memset(out, 0, static_cast<std::size_t>(used * kGroupRows * plan.v_columns) * 4);

  for (std::int64_t i = first_block; i < last_block; ++i) {
    std::byte* block = block_at(call, task.batch, state.kv_head, i);
    const std::int64_t first_key = i * key_block;
    for (std::int64_t g = 0; g < used; ++g) {
      RowGroup& group = groups[g];
      // With biased weights the initial sums contain every key of the block, so all of them must be computed.
      const bool whole = S::kWeightBias != 0 && plan.pv_form == PvForm::s8 && group.seen.end > first_key;
      const std::int64_t end = (whole ? sequence.k_rows : group.seen.end) - first_key;
      group.keys = group.seen.begin >= first_key + key_block ? 0 : end < key_block ? end : key_block;
    }
    qk_and_softmax_of_block<S>(state, block, first_key, used, groups);
    for (std::int64_t g = 0; g < used; ++g) {
      const RowGroup& group = groups[g];
      if (group.keys <= 0) continue;
      stages.pv({.weights = weights + g * kGroupRows * weights_ld,
                 .weights_low = weights_low + g * kGroupRows * weights_ld,
                 .p_ld = weights_ld,
                 .v = part<std::int32_t>(block, plan.block.values),
                 .v_steps = key_block / plan.v_depth,
                 .start = part<std::int32_t>(block, plan.block.v_start),
                 .steps = (group.keys + plan.v_depth - 1) / plan.v_depth,
                 .sum_steps = plan.sum_keys / plan.v_depth,
                 .full_range_s8 = part<BlockFlags>(block, plan.block.flags)->full_range_s8_in_v,
                 .columns = plan.v_columns,
                 .column_scale = plan.v_block_scales ? part<float>(block, plan.block.column_scale) : nullptr,
                 .rescale = group.rescale,
                 .alpha = group.alpha,
                 .beta = group.beta,
                 .out = out + g * kGroupRows * plan.v_columns,
                 .rows = group.rows});
    }
  }
  KeptBlock kept_block;
  KeptPart kept_part;
  const bool keeps = spec::keeps_any(state.kept);
  for (std::int64_t g = 0; g < used; ++g) {
    const std::int64_t query_block = g / kQueryBlockGroups, row = task.first + g * kGroupRows;
    const QueryVectors& queries = part<QueryVectors>(thread, plan.thread.row_vectors)[query_block];
    const float* offsets = queries.smooth_k_logit_offset + g % kQueryBlockGroups * kGroupRows;
    if (keeps && g % kQueryBlockGroups == 0) {
      const std::int64_t left = task.first + task.rows - row;
      kept_block =
          gather_kept<S>(call, thread, task.batch, state.kv_head, state.kept, row,
                         left < kQueryBlock ? left : kQueryBlock, heavy.keys[query_block], heavy.count[query_block]);
    }
    if (keeps)
      attend_kept<S>(call, thread, task.batch, task.head, kept_block, state.kept, row, groups[g], offsets, kept_part);
    epilogue<S>(call, task.batch, task.head, row, groups[g], offsets, out + g * kGroupRows * plan.v_columns,
                keeps ? &kept_part : nullptr);
  }
}

}  // namespace
}  // namespace octavo::cpu
