// score_mod: softcap, additive masks, ALiBi and boolean masks, between the product and the softmax.
//   s = scale * q.k (+ smooth_k_logit_offset);  s = c tanh(s / c);  s += mask + slope distance(j)
// A term that all keys of a row share does not change the softmax. The mask's largest finite term is subtracted first,
// so that a constant of -1e9 does not absorb the scores' digits; the LSE and the comparison with a sink add it again.
#pragma once

#include "cpu/attention/row_group.hpp"
#include "cpu/operands/read_number.hpp"
#include "cpu/operands/scratch.hpp"
#include "cpu/operands/seen_keys.hpp"
#include "cpu/simd/exp2.hpp"
#include "spec/alibi.hpp"
#include "spec/base2.hpp"
#include "spec/visibility.hpp"

namespace octavo::cpu {
namespace {

// The sources of the additive terms of one query row. ALiBi: spec/alibi.hpp.
struct RowBias {
  const Problem* problem;
  std::int64_t mask_at;  // element offset of the mask's row
  float slope = 0;       // base 2
  std::int64_t diagonal = 0;
  std::int64_t peak = 0;   // distance of the key where the ALiBi term is largest
  float mask_row_max = 0;  // subtracted from every term of the mask, base 2
};

OCTAVO_INLINE RowBias bias_of_row(const Problem& problem, const Sequence& sequence, std::int64_t b, std::int64_t head,
                                  std::int64_t row, spec::KeyRange seen) {
  RowBias bias{&problem, b * problem.mask.strides[0] + head * problem.mask.strides[1] + row * problem.mask.strides[2]};
  if (problem.alibi_slopes.data != nullptr) {
    const Broadcast& slopes = problem.alibi_slopes;
    bias.slope = spec::in_base_2(read_number(slopes, b * slopes.strides[0] + head * slopes.strides[1]));
    bias.diagonal = spec::diagonal(problem.causal, sequence.q_rows, sequence.k_rows, row);
    bias.peak = spec::alibi_peak(problem.alibi, bias.slope, seen.begin, seen.end, bias.diagonal);
  }
  return bias;
}

OCTAVO_INLINE void fill_bias(const RowBias& row, std::int64_t first, std::int64_t keys, std::int64_t last_key,
                             float* bias) {
  const Broadcast& mask = row.problem->mask;
  const std::int64_t step = mask.strides[3], count = last_key - first < keys ? last_key - first : keys;
  const std::int64_t at = row.mask_at + first * step;
  if (mask.data == nullptr) {
    for (std::int64_t j = 0; j < count; ++j) bias[j] = 0;
  } else if (mask.dtype == DType::boolean) {
    const auto* from = static_cast<const std::uint8_t*>(mask.data) + at;
    if (step == 1)
      for (std::int64_t j = 0; j < count; ++j) bias[j] = from[j] != 0 ? 0.0f : -__builtin_inff();
    else
      for (std::int64_t j = 0; j < count; ++j) bias[j] = from[j * step] != 0 ? 0.0f : -__builtin_inff();
  } else if (mask.dtype == DType::f32 && step == 1) {
    const float* from = static_cast<const float*>(mask.data) + at;
    for (std::int64_t j = 0; j < count; ++j) bias[j] = from[j];
  } else {
    for (std::int64_t j = 0; j < count; ++j) bias[j] = read_number(mask, at + j * step);
  }
  if (mask.data != nullptr && mask.dtype != DType::boolean)
    for (std::int64_t j = 0; j < count; ++j) bias[j] = spec::in_base_2(bias[j]) - row.mask_row_max;
  if (row.slope != 0) {
    const Alibi alibi = row.problem->alibi;
    for (std::int64_t j = 0; j < count; ++j)
      bias[j] += row.slope * static_cast<float>(spec::alibi_distance(alibi, first + j, row.diagonal) - row.peak);
  }
  for (std::int64_t j = count; j < keys; ++j) bias[j] = -__builtin_inff();
}

// The largest finite term of the mask among the keys a row sees and that exist, base 2; 0 where there is none.
template <class S>
OCTAVO_INLINE float mask_max_of_row(const Problem& problem, std::int64_t mask_at, spec::KeyRange seen,
                                    const SeenKeys& keys) {
  if (problem.mask.data == nullptr || problem.mask.dtype == DType::boolean) return 0;
  constexpr std::int64_t kChunk = 256;
  alignas(64) float bias[kChunk];
  const RowBias mask_alone{&problem, mask_at};
  const auto nothing = S::set1(-__builtin_inff());
  auto best = nothing;
  for (std::int64_t j = seen.begin; j < seen.end; j += kChunk) {
    fill_bias(mask_alone, j, kChunk, seen.end, bias);
    for (std::int64_t u = 0; keys.bytes != nullptr && u < kChunk && j + u < seen.end; ++u)
      if (!keys(j + u)) bias[u] = -__builtin_inff();
    for (std::int64_t u = 0; u < kChunk; u += S::kLanes) {
      const auto x = S::load(bias + u);
      best = S::max(S::select(S::is_finite(x), x, nothing), best);
    }
  }
  const float largest = S::reduce_max(best);
  return largest == -__builtin_inff() ? 0.0f : largest;
}

// What is subtracted from the scores of each row of a group, and added to the LSE in the epilogue.
template <class S>
OCTAVO_INLINE void find_row_offsets(const Call& call, std::int64_t b, std::int64_t head, std::int64_t kv_head,
                                    std::int64_t row, RowGroup& group) {
  const Problem& problem = *call.plan->problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  for (int i = 0; i < kGroupRows; ++i) group.mask_row_max[i] = group.lse_offset[i] = 0;
  if (!call.plan->score_mod) return;
  const SeenKeys keys = seen_keys(call, b, kv_head);
  for (int i = 0; i < group.rows; ++i) {
    const spec::KeyRange seen = spec::visible_keys(problem.causal, problem.window_left, problem.window_right,
                                                   sequence.q_rows, sequence.k_rows, row + i);
    const RowBias terms = bias_of_row(problem, sequence, b, head, row + i, seen);
    group.mask_row_max[i] = mask_max_of_row<S>(problem, terms.mask_at, seen, keys);
    group.lse_offset[i] = spec::bounded(group.mask_row_max[i] + terms.slope * static_cast<float>(terms.peak));
  }
}

// c tanh(s / c) on base-2 logits (spec/base2.hpp).
template <class S>
OCTAVO_INLINE typename S::f32 soften(typename S::f32 logit, typename S::f32 constant, float softcap) {
  auto t = S::mul(S::fma(logit, S::set1(spec::kLn2), constant), S::set1(1 / softcap));
  t = S::select(S::equal(t, t), t, S::set1(__builtin_nanf("")));  // exp2 keeps the payload of this NaN only
  const auto power = exp2_quintic<S>(S::mul(S::min(S::set1(20.0f), t), S::set1(2 * spec::kLog2E)));
  const auto two = S::set1(2.0f), one = S::set1(1.0f);
  const auto far = S::sub(one, S::div(two, S::add(power, one)));
  const auto t2 = S::mul(t, t);
  const auto series = S::fma(S::fma(S::set1(spec::kTanh7), t2, S::set1(spec::kTanh5)), t2, S::set1(spec::kTanh3));
  const auto near = S::fma(S::mul(t, t2), series, t);
  const auto tanh = S::select(S::less(S::abs(t), S::set1(spec::kTanhNear)), near, far);
  return S::mul(S::mul(tanh, S::set1(softcap)), S::set1(spec::kLog2E));
}

// One row of scores in place. `constant` is what softcap's tanh needs added (natural units).
template <class S>
OCTAVO_INLINE void score_mod_row(const RowBias& row, float constant, std::int64_t first, std::int64_t keys,
                                 std::int64_t last_key, float* scores, float* bias) {
  const Problem& problem = *row.problem;
  const auto nothing = S::set1(-__builtin_inff()), poison = S::set1(__builtin_nanf(""));
  for (std::int64_t j = 0; problem.softcap > 0 && j < keys; j += S::kLanes) {
    const auto x = S::load(scores + j);
    const auto capped = soften<S>(x, S::set1(constant), static_cast<float>(problem.softcap));
    S::store(scores + j, S::select(S::equal(x, nothing), x, capped));  // a hidden key stays hidden
  }
  if (problem.mask.data == nullptr && row.slope == 0) return;
  fill_bias(row, first, keys, last_key, bias);
  for (std::int64_t j = 0; j < keys; j += S::kLanes) {
    const auto term = S::load(bias + j), score = S::load(scores + j);
    auto x = S::add(score, term);
    x = S::select(S::equal(x, x), x, poison);  // a caller's NaN becomes the one whose payload exp2 keeps
    x = S::select(S::equal(score, nothing), nothing, x);
    S::store(scores + j, S::select(S::equal(term, nothing), nothing, x));
  }
}

// T = (s - r) + b with r the row's maximum of s: the fold's b keeps its digits beside any score.
template <class S>
OCTAVO_INLINE float fold_row(float* scores, const float* fold, std::int64_t keys, float row_max) {
  const auto nothing = S::set1(-__builtin_inff());
  auto best = nothing;
  if (row_max == -__builtin_inff()) return row_max;
  for (std::int64_t j = 0; j < keys; j += S::kLanes) {
    const auto s = S::load(scores + j);
    auto x = S::add(S::sub(s, S::set1(row_max)), S::load(fold + j));
    x = S::select(S::equal(s, nothing), nothing, x);  // b of a masked token may be NaN
    S::store(scores + j, x);
    best = S::max(x, best);
  }
  return S::reduce_max(best);
}

}  // namespace
}  // namespace octavo::cpu
