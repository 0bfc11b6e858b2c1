// Two attention states of the same query over different keys become one:
//   LSE = max + log1p(exp(min - max)),   O = O_a e^(LSE_a - LSE) + O_b e^(LSE_b - LSE)
// The weights are computed in double and applied in f32. Both products are rounded before they are added, so that a and
// b may change places.
#pragma once

#include <cmath>

#include "core/float_types.hpp"
#include "core/inline.hpp"

namespace octavo::spec {

// A state that saw no key (LSE -infinity) has no part in the result, whatever its O holds.
struct MergeWeights {
  bool use_a = false, use_b = false;
  float a = 0, b = 0;
  float lse = 0;
};

OCTAVO_INLINE MergeWeights merge_weights(double lse_a, double lse_b) {
  const double nothing = -__builtin_inf();
  const double high = lse_a > lse_b ? lse_a : lse_b, low = lse_a > lse_b ? lse_b : lse_a;
  double lse = low == nothing ? high : high + ::log1p(::exp(low - high));
  if (lse_a != lse_a || lse_b != lse_b) lse = static_cast<double>(f32_of_bits(0x7fc00000u));
  MergeWeights weights;
  weights.use_a = lse_a != nothing;
  weights.use_b = lse_b != nothing;
  if (weights.use_a) weights.a = static_cast<float>(::exp(lse_a - lse));
  if (weights.use_b) weights.b = static_cast<float>(::exp(lse_b - lse));
  weights.lse = static_cast<float>(lse);
  return weights;
}

// Channels of the merged O. Ops: f32 with set1, add and mul.
template <class Ops>
OCTAVO_INLINE typename Ops::f32 merge_channels(const MergeWeights& weights, typename Ops::f32 a, typename Ops::f32 b) {
  const auto from_a = weights.use_a ? Ops::mul(Ops::set1(weights.a), a) : Ops::set1(0.0f);
  const auto from_b = weights.use_b ? Ops::mul(Ops::set1(weights.b), b) : Ops::set1(0.0f);
  return Ops::add(from_a, from_b);
}

}  // namespace octavo::spec
