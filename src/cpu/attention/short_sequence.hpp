// Short sequences that are computed exactly: those of `exact`, and those whose rows keep every key
// (spec/kept_keys.hpp). K and V are gathered once for the query heads of a group, as kept keys are, and nothing is
// packed: with few rows that, the padding to key blocks and the phases of a call take longer than the products.
#pragma once

#include "cpu/attention/epilogue.hpp"
#include "cpu/attention/kept_keys.hpp"
#include "cpu/operands/read_number.hpp"
#include "spec/epilogue.hpp"

namespace octavo::cpu {
namespace {

// O and the LSE of a group of rows; part.out is scaled in place.
template <class S>
OCTAVO_INLINE void finish_short_rows(const Call& call, std::int64_t b, std::int64_t head, std::int64_t row,
                                     const RowGroup& group, const KeptPart& part, float* out) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  const float sink = problem.sinks.data == nullptr
                         ? -__builtin_inff()
                         : read_number(problem.sinks, b * problem.sinks.strides[0] + head * problem.sinks.strides[1]);
  for (int i = 0; i < group.rows; ++i) {
    const float m = part.m[i], l = part.l[i];
    const double sink_logit = static_cast<double>(sink) * std::numbers::log2e - group.lse_offset[i];
    const spec::RowEnd end = spec::end_of_row<EpilogueOps<S>>(m, l, sink, sink_logit);
    const auto share = S::set1(end.sees ? spec::share_of_values(end, l) : 0.0f);
    float* x = out + i * plan.v_width;
    // Rounding may carry a sum of shares of the largest f32 beyond it.
    for (std::int64_t d = 0; d < plan.v_columns; d += S::kLanes)
      S::store(x + d, saturated<S>(S::mul(S::load(x + d), share)));
    store_row<S>(problem.out, problem.out.offset(b, head, sequence.q_begin + row + i), problem.value_dim, x);
    if (problem.lse == nullptr) continue;
    const double max_lse = (static_cast<double>(m) + static_cast<double>(group.lse_offset[i])) * std::numbers::ln2;
    problem.lse[b * problem.lse_strides[0] + head * problem.lse_strides[1] +
                (sequence.q_begin + row + i) * problem.lse_strides[2]] =
        spec::lse_of_row<EpilogueOps<S>>(end, sink, max_lse);
  }
}

// Rows task.first.. of query heads task.head..last_head-1, which share a KV head.
template <class S>
void attend_short(const Call& call, const AttentionTask& task, std::int64_t last_head, std::byte* thread) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, task.batch)->rows;
  const std::int64_t kv_head = problem.kv_head(task.head);
  const spec::KeptKeys kept{.all = true};
  const spec::PositionMask mask = position_mask(problem, sequence);
  const auto seen_by = [&](std::int64_t from, std::int64_t to) __attribute__((always_inline)) {
    return spec::visible_keys_of_rows(problem.causal, problem.window_left, problem.window_right, sequence.q_rows,
                                      sequence.k_rows, from, to);
  };
  const KeptBlock block = gather_kept<S>(call, thread, task.batch, kv_head, kept, task.first, task.rows, nullptr, 0);
  RowGroup group;
  KeptPart part;
  for (std::int64_t head = task.head; head < last_head; ++head) {
    for (std::int64_t i = 0; i < task.rows; i += kGroupRows) {
      const std::int64_t row = task.first + i, left = task.rows - i;
      start_group(group, row, static_cast<int>(left < kGroupRows ? left : kGroupRows), seen_by);
      find_row_offsets<S>(call, task.batch, head, kv_head, row, group);
      group.near = near_keys_of_rows(kept, mask, row, row + group.rows);
      attend_kept<S>(call, thread, task.batch, head, block, kept, row, group, nullptr, part);
      finish_short_rows<S>(call, task.batch, head, row, group, part, part.out);
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
