// One step of the online softmax, for the SIMD and the CUDA kernels alike. Scores T are in base 2. Per query row, m is
// the running maximum and t the maximum of the block of keys at hand:
//   m' = max(m, t),   alpha = 2^(m - m'),   weights are R 2^(T - shift),   beta = 2^(shift - m') / R
//   l = alpha l + beta sum of the weights,   O = alpha O + beta P V
// Ops are the operations on f32: a SIMD policy with exp2() (one row a lane), or scalars (one row).
#pragma once

#include "core/inline.hpp"

namespace octavo::spec {

// How far (base 2) a block's maximum may rise above m before O and l are rescaled, where the codes of P do not depend
// on m. 2^8 keeps f32 sums far from overflow, and rescaling becomes rare enough for its branch to be predicted.
constexpr float kStaleLogits = 8.0f;

template <class Ops>
struct OnlineSoftmaxStep {
  typename Ops::f32 m;            // the new running maximum
  typename Ops::f32 shift;        // what is subtracted from the scores before the exponential; no score exceeds it
  typename Ops::f32 alpha, beta;  // factors of what was summed before, of this block's sums
};

// `row_max` is the largest of the block's scores, which differ from T by `score_offset`. `running_maximum`: the codes
// of P are relative to the running maximum, else to the block's own. `log2_p_range`: base-2 logarithm of R.
template <class Ops>
OCTAVO_INLINE OnlineSoftmaxStep<Ops> online_softmax_update(typename Ops::f32 m, typename Ops::f32 row_max,
                                                           typename Ops::f32 score_offset, bool running_maximum,
                                                           float log2_p_range) {
  const auto nothing = Ops::set1(-__builtin_inff()), zero = Ops::set1(0.0f), one = Ops::set1(1.0f);
  const auto slack = Ops::set1(running_maximum ? 0.0f : kStaleLogits);
  const auto t = Ops::add(row_max, score_offset);
  const auto next = Ops::select(Ops::less(Ops::add(m, slack), t), t, m);
  // In a row that has seen no key yet any finite reference will do: its sums are zero.
  const auto kept = Ops::select(Ops::equal(next, nothing), zero, next);
  const auto reference = running_maximum ? kept : Ops::select(Ops::equal(t, nothing), zero, t);
  // The shift is in terms of the scores at hand and meets their maximum exactly: adding the offset to t may have
  // rounded. The difference from t's own shift goes into beta.
  const auto shift_of_t = Ops::sub(reference, score_offset);
  const auto own = Ops::select(Ops::equal(row_max, nothing), zero, row_max);
  OnlineSoftmaxStep<Ops> step;
  step.m = next;
  step.shift = running_maximum ? Ops::select(Ops::equal(next, t), own, Ops::max(shift_of_t, own)) : own;
  step.alpha = Ops::select(Ops::equal(m, next), one, Ops::exp2(Ops::sub(m, kept)));
  const auto exponent = Ops::add(Ops::sub(reference, kept), Ops::sub(step.shift, shift_of_t));
  // A row that sees no key of this block gets nothing from it.
  step.beta = Ops::select(Ops::equal(t, nothing), zero, Ops::exp2(Ops::sub(exponent, Ops::set1(log2_p_range))));
  return step;
}

// The new row sum; `block_sum` is the sum of the block's weights.
template <class Ops>
OCTAVO_INLINE typename Ops::f32 online_softmax_sum(typename Ops::f32 l, typename Ops::f32 block_sum,
                                                   typename Ops::f32 alpha, typename Ops::f32 beta) {
  return Ops::fma(block_sum, beta, Ops::mul(l, alpha));
}

}  // namespace octavo::spec
