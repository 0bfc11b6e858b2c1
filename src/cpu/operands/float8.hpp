// Rounding to E4M3 and E5M2 on a vector, and the numbers behind their codes: as core/float_types.hpp defines them.
//   step = 2^(exponent of x) / 2^mantissa bits, no finer than the format's subnormals; x -> nearest even multiple of it
#pragma once

#include "core/float_types.hpp"
#include "cpu/simd/policy.hpp"
#include "spec/scale.hpp"

namespace octavo::cpu {
namespace {

// |x| at most the format's largest number (plus less than half of its last step). NaN stays NaN.
template <class S, int kMantissaBits>
OCTAVO_INLINE typename S::f32 round_to_bits(typename S::f32 x, float smallest_normal) {
  // The power of two below |x|, then a sum whose last place is one step of the format; 1.5 keeps it there for both
  // signs and leaves the parity of the quotient alone.
  const auto exponent = S::from_bits(S::and_s32(S::bits(x), S::set1(std::int32_t{0x7f800000})));
  const auto power = S::max(exponent, S::set1(smallest_normal));
  const auto factor = S::set1(1.5f * static_cast<float>(1 << (23 - kMantissaBits)));
  const auto sum = S::fma(power, factor, x);
  return S::sub(sum, S::mul(power, factor));
}
template <class S>
OCTAVO_INLINE typename S::f32 round_e4m3_in_range(typename S::f32 x) {
  return round_to_bits<S, 3>(x, 0x1p-6f);
}
template <class S>
OCTAVO_INLINE typename S::f32 round_e5m2_in_range(typename S::f32 x) {
  return round_to_bits<S, 2>(x, 0x1p-14f);
}

// Finite numbers saturate, infinities become NaN.
template <class S>
OCTAVO_INLINE typename S::f32 saturate(typename S::f32 x, float largest) {
  const auto clamped = S::max(S::set1(-largest), S::min(S::set1(largest), x));
  return S::select(S::is_finite(x), clamped, S::set1(__builtin_nanf("")));
}
template <class S>
OCTAVO_INLINE typename S::f32 round_e4m3(typename S::f32 x) {
  return round_e4m3_in_range<S>(saturate<S>(x, spec::kRangeE4m3));
}
template <class S>
OCTAVO_INLINE typename S::f32 round_e5m2(typename S::f32 x) {
  return round_e5m2_in_range<S>(saturate<S>(x, spec::kRangeE5m2));
}

// The number of each code.
struct Float8Values {
  float of[256];
};
inline constexpr Float8Values kE4m3Values = [] {
  Float8Values values{};
  for (int code = 0; code < 256; ++code) values.of[code] = e4m3_to_f32(static_cast<std::uint8_t>(code));
  return values;
}();
inline constexpr Float8Values kE5m2Values = [] {
  Float8Values values{};
  for (int code = 0; code < 256; ++code) values.of[code] = e5m2_to_f32(static_cast<std::uint8_t>(code));
  return values;
}();

}  // namespace
}  // namespace octavo::cpu
