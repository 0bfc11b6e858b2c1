// 2^x as 2^round(x) times a polynomial of the rest f in [-1/2, 1/2]: coefficients of the least largest relative error,
// made and bounded by scripts/exp2_coefficients.py. c[0] + c[1] f + c[2] f^2 + ..., all f32.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "core/inline.hpp"
#include "laws/scale.hpp"

namespace octavo::laws {

// Relative error <= 2.65e-6 (exactly evaluated): for weights that become 8-bit codes. A cubic's 7.5e-5 would be enough
// for their contract; this is one more product, and thirty times fewer codes differ by one from the true weight's.
constexpr float kExp2Quartic[5] = {0x1.ffffe8p-1f, 0x1.62e0dcp-1f, 0x1.ec06dap-3f, 0x1.ca1440p-5f, 0x1.3997d6p-7f};

// Relative error <= 1.58e-7 (exactly evaluated), and 2^0 = 1: for 16-bit codes and float weights.
constexpr float kExp2Quintic[6] = {1.0f,           0x1.62e428p-1f, 0x1.ebf918p-3f,
                                   0x1.c6b6e4p-5f, 0x1.3d0c52p-7f, 0x1.5c08e6p-10f};

// 2^x for a number x <= 127, f32 throughout; below -126 it is 0 (beside a weight of 1 nothing is lost), and so is
// 2^-infinity.
template <int degree>
OCTAVO_INLINE constexpr float exp2_poly(float x, const float (&c)[degree + 1]) {
  if (x < -126.0f) return 0.0f;
  const float whole = round_half_even(x);
  const float f = x - whole;
  float p = c[degree];
  for (int i = degree - 1; i >= 0; --i) p = p * f + c[i];
  return p * f32_of_bits(static_cast<std::uint32_t>(static_cast<std::int32_t>(whole) + 127) << 23);
}
OCTAVO_INLINE constexpr float exp2_quartic(float x) { return exp2_poly<4>(x, kExp2Quartic); }
OCTAVO_INLINE constexpr float exp2_quintic(float x) { return exp2_poly<5>(x, kExp2Quintic); }

}  // namespace octavo::laws
