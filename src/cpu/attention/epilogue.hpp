// The end of a row: the sink, O / l with V's scales and mean put back, the inverse rotation, and the LSE.
#pragma once

#include <numbers>

#include "cpu/attention/kept_keys.hpp"
#include "cpu/attention/row_group.hpp"
#include "cpu/operands/channel_stats.hpp"
#include "cpu/operands/load_transform.hpp"
#include "cpu/operands/read_number.hpp"
#include "spec/epilogue.hpp"

namespace octavo::cpu {
namespace {

// To finite numbers; NaN stays.
template <class S>
OCTAVO_INLINE typename S::f32 saturated(typename S::f32 x) {
  return S::max(S::set1(-__FLT_MAX__), S::min(S::set1(__FLT_MAX__), x));
}

// What the kept keys add to one vector of a row. Rounding may carry a sum of shares of the largest f32 beyond it; what
// is infinite in the rest stays so.
template <class S>
OCTAVO_INLINE typename S::f32 join_kept(typename S::f32 rest, typename S::f32 part, typename S::f32 share) {
  const auto sum = S::fma(saturated<S>(part), share, rest);
  return S::select(S::is_finite(rest), saturated<S>(sum), sum);
}

// One row of O from its sums, of any size: (O * factor * epilogue_scale + present * mean * gain, rotated back) / unit,
// plus the share of the kept keys; zeros if the row sees no key. Results saturate at the largest f32; what was not
// finite stays so.
template <class S>
OCTAVO_INLINE void epilogue_row(const Plan& plan, const ValueVectors& values, const float* sums, bool sees,
                                typename S::f32 factor, typename S::f32 present, float unit, const std::int32_t* signs,
                                std::int64_t at, const float* kept, float kept_share) {
  const Problem& problem = *plan.problem;
  alignas(64) float x[kMaxPadded];
  for (std::int64_t d = 0; d < plan.v_columns; d += S::kLanes)
    S::store(x + d, sees ? S::mul(S::load(sums + d), factor) : S::set1(0.0f));
  for (std::int64_t d = 0; plan.v_epilogue_scale && sees && d < plan.v_columns; d += S::kLanes)
    S::store(x + d, S::mul(S::load(x + d), S::load(values.epilogue_scale + d)));
  for (std::int64_t d = 0; plan.smooth_v && sees && d < plan.v_columns; d += S::kLanes)
    S::store(x + d, S::fma(S::mul(S::load(values.mean + d), S::load(values.gain + d)), present, S::load(x + d)));
  if (plan.rotate_v && sees) rotate_row_back<S>(x, signs, problem.value_dim);
  const auto largest = S::set1(__FLT_MAX__);
  for (std::int64_t d = 0; unit != 1 && d < plan.v_columns; d += S::kLanes) {
    const auto sum = S::load(x + d), given_back = S::div(sum, S::set1(unit));
    const auto clamped = S::max(S::sub(S::set1(0.0f), largest), S::min(largest, given_back));
    S::store(x + d, S::select(S::is_finite(sum), clamped, sum));
  }
  for (std::int64_t d = 0; kept != nullptr && d < plan.v_columns; d += S::kLanes)
    S::store(x + d, join_kept<S>(S::load(x + d), S::load(kept + d), S::set1(kept_share)));
  store_row<S>(problem.out, at, problem.value_dim, x);
}

// The state of a group's rows, merged from the quantized part and the kept keys; a part without keys is ignored.
struct JoinedRows {
  alignas(64) float m[kGroupRows];
  alignas(64) float l[kGroupRows];
  alignas(64) float of_rest[kGroupRows];  // factors of both parts' sums
  alignas(64) float of_kept[kGroupRows];
};
template <class S>
OCTAVO_INLINE void join_parts(const RowGroup& group, const KeptPart* kept, JoinedRows& rows) {
  const auto nothing = S::set1(-__builtin_inff()), zero = S::set1(0.0f);
  for (int i = 0; i < kGroupRows; i += S::kLanes) {
    auto m = S::load(group.m + i), l = S::load(group.l + i), of_rest = S::set1(1.0f), of_kept = zero;
    if (kept != nullptr) {
      const auto m_rest = m, m_kept = S::load(kept->m + i);
      m = S::max(m_kept, m_rest);
      of_rest = S::select(S::equal(m_rest, nothing), zero, exp2_quintic<S>(S::sub(m_rest, m)));
      of_kept = S::select(S::equal(m_kept, nothing), zero, exp2_quintic<S>(S::sub(m_kept, m)));
      l = S::fma(l, of_rest, S::mul(S::load(kept->l + i), of_kept));
    }
    S::store(rows.m + i, m), S::store(rows.l + i, l);
    S::store(rows.of_rest + i, of_rest), S::store(rows.of_kept + i, of_kept);
  }
}

// O and the LSE of a group of rows.
template <class S>
OCTAVO_INLINE void epilogue(const Call& call, std::int64_t b, std::int64_t head, std::int64_t row,
                            const RowGroup& group, const float* smooth_k_logit_offset, float* out,
                            const KeptPart* kept) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  HeadInfo* info = head_at(call, b, problem.kv_head(head));
  const ValueVectors values = value_vectors(call, info);
  const float sink = problem.sinks.data == nullptr
                         ? -__builtin_inff()
                         : read_number(problem.sinks, b * problem.sinks.strides[0] + head * problem.sinks.strides[1]);
  alignas(64) std::int32_t signs[kMaxPadded];
  if (plan.rotate_v) rotation_signs(signs, problem.value_dim);
  JoinedRows joined;
  join_parts<S>(group, kept, joined);
  for (int i = 0; i < group.rows; ++i) {
    const float m = joined.m[i], l = joined.l[i];
    // With softcap the offset was added before the tanh.
    const float constant = problem.softcap > 0 ? 0.0f : smooth_k_logit_offset[i];
    const double sink_logit = (static_cast<double>(sink) - constant) * std::numbers::log2e - group.lse_offset[i];
    const spec::RowEnd end = spec::end_of_row<EpilogueOps<S>>(m, l, sink, sink_logit);
    const bool sees = end.sees;
    const auto factor = S::set1(sees ? info->out_scale * (end.factor * joined.of_rest[i]) / end.sum : 0.0f);
    const std::int64_t at = problem.out.offset(b, head, sequence.q_begin + row + i);
    const float* sums = out + i * plan.v_columns;
    // The sink has no value, so V's mean is weighted by the share of the keys alone.
    const auto present = S::set1(sees ? spec::share_of_values(end, group.l[i] * joined.of_rest[i]) : 0.0f);
    const float kept_share =
        kept != nullptr && sees ? spec::share_of_values(end, kept->l[i] * joined.of_kept[i]) : 0.0f;
    const float* kept_row = kept != nullptr && sees ? kept->out + i * plan.v_width : nullptr;
    const bool plain = sees && !plan.v_epilogue_scale && info->v_prescale == 1;
    const bool stored =
        plain &&
        with_register_rows<S>(problem.out, problem.value_dim, [&](auto vectors) __attribute__((always_inline)) {
          constexpr int kVectors = decltype(vectors)::value;
          typename S::f32 v[kVectors];
          for (int j = 0; j < kVectors; ++j) v[j] = S::mul(S::load(sums + j * S::kLanes), factor);
          for (int j = 0; plan.smooth_v && j < kVectors; ++j) {
            const auto mean = S::mul(S::load(values.mean + j * S::kLanes), S::load(values.gain + j * S::kLanes));
            v[j] = S::fma(mean, present, v[j]);
          }
          rotate_back<S, kVectors>(plan.rotate_v ? signs : nullptr, v);
          for (int j = 0; kept_row != nullptr && j < kVectors; ++j)
            v[j] = join_kept<S>(v[j], S::load(kept_row + j * S::kLanes), S::set1(kept_share));
          store_as_row<S, kVectors>(problem.out, at, v);
        });
    if (!stored)
      epilogue_row<S>(plan, values, sums, sees, factor, present, info->v_prescale, signs, at, kept_row, kept_share);
    if (problem.lse == nullptr) continue;
    const double max_lse =
        (static_cast<double>(m) + static_cast<double>(group.lse_offset[i])) * std::numbers::ln2 + constant;
    problem.lse[b * problem.lse_strides[0] + head * problem.lse_strides[1] +
                (sequence.q_begin + row + i) * problem.lse_strides[2]] =
        spec::lse_of_row<EpilogueOps<S>>(end, sink, max_lse);
  }
}

}  // namespace
}  // namespace octavo::cpu
