// 2^x on a vector: x is split into an integer, which goes into the exponent field, and a fraction, which a polynomial
// takes (S::Exp2). NaN stays NaN. Coefficients that have been multiplied by R give R 2^x, within the same bounds of
// R 2^x.
#pragma once

#include "cpu/simd/policy.hpp"

namespace octavo::cpu {
namespace {

// The polynomial of kCount vectors' fractions, in lockstep: step by step, so that their latencies overlap.
template <class S, int kTerms, int kCount>
OCTAVO_INLINE void exp2_of_fraction(const typename S::f32 (&x)[kCount], const typename S::f32 (&c)[kTerms],
                                    typename S::f32 (&p)[kCount]) {
  constexpr int kDegree = kTerms - 1;
  typename S::f32 f[kCount];
#pragma GCC unroll 8
  for (int u = 0; u < kCount; ++u) f[u] = S::fraction(x[u]);
#pragma GCC unroll 8
  for (int u = 0; u < kCount; ++u) p[u] = S::fma(c[kDegree], f[u], c[kDegree - 1]);
#pragma GCC unroll 8
  for (int i = kDegree - 2; i >= 0; --i) {
#pragma GCC unroll 8
    for (int u = 0; u < kCount; ++u) p[u] = S::fma(p[u], f[u], c[i]);
  }
}

// For x <= 127; below -126 the result is that of -126, which is nothing beside 1.
template <class S, int kTerms, int kCount>
OCTAVO_INLINE void exp2_with(typename S::f32 (&x)[kCount], const float (&c)[kTerms]) {
  typename S::f32 terms[kTerms], p[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kTerms; ++i) terms[i] = S::set1(c[i]);
#pragma GCC unroll 8
  for (int u = 0; u < kCount; ++u) x[u] = S::max(S::set1(-126.0f), x[u]);
  exp2_of_fraction<S>(x, terms, p);
#pragma GCC unroll 8
  for (int u = 0; u < kCount; ++u) x[u] = S::times_exp2(p[u], x[u]);
}

// Exactly 0 where x is below `least`; all other results must be normal.
template <class S, int kTerms, int kCount>
OCTAVO_INLINE void exp2_from(typename S::f32 (&x)[kCount], typename S::f32 least, const typename S::f32 (&c)[kTerms]) {
  typename S::f32 p[kCount];
  exp2_of_fraction<S>(x, c, p);
#pragma GCC unroll 8
  for (int u = 0; u < kCount; ++u) x[u] = S::times_exp2(S::not_less(x[u], least), p[u], x[u]);
}

// Of the running state.
template <class S>
OCTAVO_INLINE typename S::f32 exp2_quintic(typename S::f32 x) {
  typename S::f32 one[1] = {x};
  exp2_with<S>(one, S::Exp2::kQuintic);
  return one[0];
}

// log2(x) for positive normal x, absolute error about 1e-7: exponent plus the atanh series of (m - 1) / (m + 1), with m
// in [sqrt(1/2), sqrt(2)). NaN stays NaN.
template <class S>
OCTAVO_INLINE typename S::f32 log2(typename S::f32 x) {
  const auto offset = S::set1(std::int32_t{0x3f3504f3});  // sqrt(1/2)
  const auto shifted = S::add_s32(S::bits(x), S::set1(std::int32_t{0x3f800000 - 0x3f3504f3}));
  const auto exponent = S::add_s32(S::template shift_right<23>(shifted), S::set1(std::int32_t{-127}));
  const auto m = S::from_bits(S::add_s32(S::and_s32(shifted, S::set1(std::int32_t{0x7fffff})), offset));
  const auto t = S::div(S::sub(m, S::set1(1.0f)), S::add(m, S::set1(1.0f)));
  const auto t2 = S::mul(t, t);
  auto p = S::set1(2.8853900817779268f / 9);
  p = S::fma(p, t2, S::set1(2.8853900817779268f / 7));
  p = S::fma(p, t2, S::set1(2.8853900817779268f / 5));
  p = S::fma(p, t2, S::set1(2.8853900817779268f / 3));
  p = S::fma(p, t2, S::set1(2.8853900817779268f));
  return S::select(S::equal(x, x), S::fma(p, t, S::to_f32(exponent)), x);
}

// The operations of spec/online_softmax.hpp, one row a lane.
template <class S>
struct SoftmaxOps : S {
  OCTAVO_INLINE typename S::f32 exp2(typename S::f32 x) { return exp2_quintic<S>(x); }
};

// Those of spec/epilogue.hpp, for one row.
template <class S>
struct EpilogueOps {
  OCTAVO_INLINE float exp2(float x) { return __builtin_exp2f(x); }
  OCTAVO_INLINE float log2(float x) {
    alignas(64) float lanes[S::kLanes];
    S::store(lanes, cpu::log2<S>(S::set1(x)));
    return lanes[0];
  }
};

}  // namespace
}  // namespace octavo::cpu
