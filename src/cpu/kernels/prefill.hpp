// The algorithm: FlashAttention's online softmax over packed key blocks, with three stages that the recipe chose.
// Per query row: m the running maximum (base 2), l the row sum, O the weighted values, all f32:
//   t = max_j T_j over the block,  m' = max(m, t),  alpha = 2^(m - m'),  beta = 2^(t - m') / R   (codes relative to t)
//   l = alpha l + beta sum_j w_j,   O = alpha O + beta sum_j c_j V_j
// With codes relative to the running maximum (INT-FlashAttention, algorithm 1) t is m' and beta 1 / R.
#pragma once

#include "cpu/kernels/queries.hpp"
#include "laws/visibility.hpp"

namespace octavo::cpu {
namespace {

struct RunningState {
  float m[kGroupRows], l[kGroupRows];
};

// The state's step: reference maxima of the block -> shift of the weights, alpha, beta.
template <class S>
OCTAVO_INLINE void advance(const Plan& plan, const float* row_max, RunningState& state, float* shift, float* alpha,
                           float* beta) {
  const auto nothing = S::set1(-__builtin_inff()), zero = S::set1(0.0f);
  for (int i = 0; i < kGroupRows; i += S::kLanes) {
    const auto t = S::load(row_max + i), m = S::load(state.m + i);
    const auto next = S::max(t, m);
    // A row that has seen nothing yet: any finite reference will do, its sums are zero.
    const auto reference = S::select(S::equal(next, nothing), zero, next);
    const auto block = plan.running_maximum ? reference : S::select(S::equal(t, nothing), zero, t);
    const auto range = S::set1(plan.log2_p_range);
    S::store(shift + i, S::sub(block, range));
    S::store(alpha + i, exp2_quintic<S>(S::sub(m, reference)));
    // What a hidden row gathered in this block is nothing.
    const auto scale = exp2_quintic<S>(S::sub(S::sub(block, reference), range));
    S::store(beta + i, S::select(S::equal(t, nothing), zero, scale));
    S::store(state.m + i, next);
  }
}

// Hides from each row the keys outside its range and takes the maxima anew: for blocks on a diagonal or a window's edge.
template <class S>
OCTAVO_INLINE void hide(const Problem& problem, const Sequence& sequence, std::int64_t row, int rows,
                        std::int64_t first_key, std::int64_t keys, std::int64_t ld, float* scores, float* row_max) {
  for (int i = 0; i < rows; ++i) {
    const laws::KeyRange seen = laws::visible_keys(problem.causal, problem.window_left, problem.window_right,
                                                   sequence.q_rows, sequence.k_rows, row + i);
    const auto begin = S::set1(static_cast<float>(seen.begin - first_key > -1 ? seen.begin - first_key : -1));
    const auto end = S::set1(static_cast<float>(seen.end - first_key < keys ? seen.end - first_key : keys));
    auto best = S::set1(-__builtin_inff());
    for (std::int64_t j = 0; j < keys; j += S::kLanes) {
      const auto index = S::add(S::lane_index(), S::set1(static_cast<float>(j)));
      auto x = S::load(scores + i * ld + j);
      x = S::select(S::less(index, end), S::select(S::less(index, begin), S::set1(-__builtin_inff()), x),
                    S::set1(-__builtin_inff()));
      S::store(scores + i * ld + j, x);
      best = S::max(x, best);
    }
    row_max[i] = S::reduce_max(best);
  }
}

// O / l with what the recipe still owes, and the LSE.
template <class S>
OCTAVO_INLINE void finish(const Call& call, std::int64_t b, std::int64_t head, std::int64_t row, int rows,
                          const RunningState& state, const QueryVectors& queries, std::int64_t slot_row, float* out) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  const HeadInfo& info = *head_at(call, b, problem.kv_head(head));
  alignas(64) std::int32_t signs[kMaxPadded];
  if (plan.rotate_v) rotation_signs(signs, problem.value_dim);
  alignas(64) float x[kMaxPadded];
  for (int i = 0; i < rows; ++i) {
    const bool sees = state.m[i] != -__builtin_inff() || state.l[i] != state.l[i];
    const auto factor = S::set1(sees ? info.out_scale / state.l[i] : 0.0f);
    for (std::int64_t d = 0; d < plan.v_columns; d += S::kLanes)
      S::store(x + d, sees ? S::mul(S::load(out + i * plan.v_columns + d), factor) : S::set1(0.0f));
    if (plan.rotate_v && sees) rotate_row_back<S>(x, signs, problem.value_dim);
    store_row<S>(problem.out, problem.out.offset(b, head, sequence.q_begin + row + i), problem.value_dim, x);
    if (problem.lse == nullptr) continue;
    alignas(64) float logarithm[S::kLanes];
    S::store(logarithm, log2<S>(S::set1(state.l[i])));
    problem.lse[b * problem.lse_strides[0] + head * problem.lse_strides[1] +
                (sequence.q_begin + row + i) * problem.lse_strides[2]] =
        sees ? (state.m[i] + logarithm[0]) * 0.69314718f + queries.constant[slot_row + i] : -__builtin_inff();
  }
}

// Rows first..first+rows-1 of one query block (slot `slot` of the thread's scratch) against all keys they see.
template <class S>
void attend_block(const Call& call, const Stages& stages, std::byte* thread, std::int64_t slot, std::int64_t b,
                  std::int64_t head, std::int64_t first, std::int64_t rows) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  const std::int64_t kv_head = problem.kv_head(head);
  const QueryVectors& queries = part<QueryVectors>(thread, plan.thread.row_vectors)[slot];
  const auto* q = part<std::int32_t>(thread, plan.thread.queries) + slot * kQueryBlock * plan.q_ld;
  const auto* q_low = part<std::int32_t>(thread, plan.thread.queries_low) + slot * kQueryBlock * plan.q_ld;
  const float* correction = part<float>(thread, plan.thread.correction) + slot * plan.longest_keys;
  float* scores = part<float>(thread, plan.thread.scores);
  void* weights = part<void>(thread, plan.thread.weights);
  float* out = part<float>(thread, plan.thread.out);
  const bool corrected = owes_correction(plan, sequence.q_rows);
  constexpr std::int64_t kGroups = kQueryBlock / kGroupRows;
  RunningState state[kGroups];
  for (auto& group : state)
    for (int i = 0; i < kGroupRows; ++i) group.m[i] = -__builtin_inff(), group.l[i] = 0;
  std::memset(out, 0, static_cast<std::size_t>(kQueryBlock * plan.v_columns) * 4);

  const auto seen_by = [&](std::int64_t from, std::int64_t to) __attribute__((always_inline)) {
    return laws::visible_keys_of_rows(problem.causal, problem.window_left, problem.window_right, sequence.q_rows,
                                      sequence.k_rows, from, to);
  };
  const laws::KeyRange seen = seen_by(first, first + rows);
  for (std::int64_t i = seen.begin / plan.key_block; i * plan.key_block < seen.end; ++i) {
    std::byte* block = block_at(call, b, kv_head, i);
    const std::int64_t first_key = i * plan.key_block;
    for (std::int64_t r = 0; r < rows; r += kGroupRows) {
      const int group_rows = static_cast<int>(rows - r < kGroupRows ? rows - r : kGroupRows);
      const laws::KeyRange group = seen_by(first + r, first + r + group_rows);
      const std::int64_t end = group.end - first_key < plan.key_block ? group.end - first_key : plan.key_block;
      if (group.begin >= first_key + plan.key_block || end <= 0) continue;
      const std::int64_t keys = (end + 63) / 64 * 64;

      alignas(64) float row_max[kGroupRows], shift[kGroupRows], alpha[kGroupRows], beta[kGroupRows];
      alignas(64) float row_sum[kGroupRows];
      stages.score({.q = q + r * plan.q_ld,
                    .q_low = q_low + r * plan.q_ld,
                    .q_ld = plan.q_ld,
                    .start = queries.start + r,
                    .start_low = queries.start_low + r,
                    .row_factor = queries.factor + r,
                    .k = part<std::int32_t>(block, plan.block.keys),
                    .k_ld = plan.key_block,
                    .steps = plan.k_steps,
                    .key_factor = part<float>(block, plan.block.key_factor),
                    .key_addend = corrected ? correction + first_key : part<float>(block, plan.block.key_addend),
                    .scores = scores,
                    .row_max = row_max,
                    .rows = group_rows,
                    .keys = keys});
      // Both ends of a row's range grow with the row: the block needs no hiding if the first row sees to its end and
      // the last from its start.
      const laws::KeyRange top = seen_by(first + r, first + r + 1);
      const laws::KeyRange bottom = seen_by(first + r + group_rows - 1, first + r + group_rows);
      if (bottom.begin > first_key || bottom.end == 0 || (top.end < first_key + keys && top.end < sequence.k_rows))
        hide<S>(problem, sequence, first + r, group_rows, first_key, keys, plan.key_block, scores, row_max);
      advance<S>(plan, row_max, state[r / kGroupRows], shift, alpha, beta);
      stages.weight({.scores = scores,
                     .shift = shift,
                     .inverse = plan.fold ? part<float>(block, plan.block.inverse) : nullptr,
                     .weights = weights,
                     .ld = plan.key_block,
                     .row_sum = row_sum,
                     .rows = group_rows,
                     .keys = keys});
      float* l = state[r / kGroupRows].l;
      for (int j = 0; j < kGroupRows; ++j) l[j] = l[j] * alpha[j] + row_sum[j] * beta[j];
      stages.value({.weights = static_cast<const std::int32_t*>(weights),
                    .p_ld = plan.key_block / plan.v_depth,
                    .v = part<std::int32_t>(block, plan.block.values),
                    .start = part<std::int32_t>(block, plan.block.v_start),
                    .steps = (end + plan.v_depth - 1) / plan.v_depth,
                    .columns = plan.v_columns,
                    .column_scale = nullptr,
                    .alpha = alpha,
                    .beta = beta,
                    .out = out + r * plan.v_columns,
                    .rows = group_rows});
    }
  }
  for (std::int64_t r = 0; r < rows; r += kGroupRows)
    finish<S>(call, b, head, first + r, static_cast<int>(rows - r < kGroupRows ? rows - r : kGroupRows),
              state[r / kGroupRows], queries, r, out + r * plan.v_columns);
}

// One task: its query blocks are prepared together, so that the correction reads K once for all of them.
template <class S>
void attend(const Call& call, const Stages& stages, const AttentionTask& task, std::byte* thread) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, task.batch)->rows;
  std::int64_t slots = 0;
  for (std::int64_t r = 0; r < task.rows; r += kQueryBlock, ++slots)
    prepare_queries<S>(call, thread, slots, task.batch, task.head, task.first + r,
                       task.rows - r < kQueryBlock ? task.rows - r : kQueryBlock);
  if (owes_correction(plan, sequence.q_rows)) {
    const laws::KeyRange seen =
        laws::visible_keys_of_rows(problem.causal, problem.window_left, problem.window_right, sequence.q_rows,
                                   sequence.k_rows, task.first, task.first + task.rows);
    correct_keys<S>(call, thread, slots, task.batch, problem.kv_head(task.head), seen.begin / plan.key_block,
                    (seen.end + plan.key_block - 1) / plan.key_block);
  }
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    const std::int64_t r = slot * kQueryBlock;
    attend_block<S>(call, stages, thread, slot, task.batch, task.head, task.first + r,
                    task.rows - r < kQueryBlock ? task.rows - r : kQueryBlock);
  }
}

}  // namespace
}  // namespace octavo::cpu
