// V near f32's end (spec/v_prescale.hpp), found from the ranges that packing records. Other V costs nothing more.
#pragma once

#include "cpu/operands/channel_stats.hpp"
#include "spec/v_prescale.hpp"

namespace octavo::cpu {
namespace {

// Largest number that codes of this dtype stand for, without a scale.
OCTAVO_INLINE float largest_code(DType dtype) {
  return dtype == DType::s4 ? 8.0f : dtype == DType::s8 ? 128.0f : dtype == DType::e4m3 ? 448.0f : 57344.0f;
}

// Largest finite magnitude of the head's values, as the caller has them.
template <class S>
OCTAVO_INLINE float largest_value(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Problem& problem = *call.plan->problem;
  const Operand& v = problem.v;
  const SequenceInfo& sequence = *sequence_at(call, b);
  RowRange all{0.0f, true};
  const SeenKeys seen = seen_keys(call, b, kv_head);
  if (v.quantized) {
    const spec::Groups groups = spec::groups_of(Role::v, problem.recipe);
    const float* scales = spec::scales_at(v, sequence.v_scale_place, kv_head);
    const std::int64_t count = spec::scales_per_head(groups, sequence.rows.k_rows, problem.value_dim);
    const bool by_row = groups.granularity == Granularity::token || groups.granularity == Granularity::token_folded;
    for (std::int64_t i = 0; scales != nullptr && i < count; ++i)
      if (!by_row || seen(i)) all.amax = spec::grow_amax(all.amax, scales[i]);
    const float amax = all.amax * largest_code(v.dtype);
    return amax < __FLT_MAX__ ? amax : __FLT_MAX__;
  }
  alignas(64) float row[kMaxPadded];
  const RowSource source(v, b, kv_head, sequence.rows.k_begin);
  for (std::int64_t r = 0; r < sequence.rows.k_rows; ++r) {
    if (!seen(r)) continue;
    load_row<S>(v, source.at(r), problem.value_dim, row);
    grow_range(all, row_range<S>(row, problem.value_dim));
  }
  return all.amax;
}

// Whether V may need a prescale: it is large after rotation and smoothing, or overflowed there. Blocks do not record
// the effect of gains and of the caller's scales.
OCTAVO_INLINE bool may_be_huge(const Call& call, std::int64_t b, std::int64_t kv_head) {
  if (call.plan->problem->v.quantized || call.plan->channel_gains) return true;
  for (std::int64_t i = 0; i < sequence_at(call, b)->blocks; ++i) {
    const auto& flags = *part<BlockFlags>(block_at(call, b, kv_head, i), call.plan->block.flags);
    if (!flags.finite_values || flags.value_amax >= spec::kLargestPlainValue) return true;
  }
  return false;
}

template <class S>
bool choose_v_prescale(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Plan& plan = *call.plan;
  HeadInfo* head = head_at(call, b, kv_head);
  if (!plan.v_prescale || !may_be_huge(call, b, kv_head)) return false;
  head->v_prescale = spec::v_prescale(largest_value<S>(call, b, kv_head));
  return head->v_prescale != 1;
}

}  // namespace
}  // namespace octavo::cpu
