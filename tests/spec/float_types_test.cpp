// Every code of the small floats against its definition, and rounding against the nearest code found by search.
#include "core/float_types.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace octavo {
namespace {

// The definition: sign, exponent, mantissa with a bias. `fn`: the top exponent holds numbers, all ones is NaN.
double defined(unsigned code, int exponent_bits, int mantissa_bits, bool fn) {
  const int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
  const int sign = code >> (exponent_bits + mantissa_bits) & 1;
  const int exponent = code >> mantissa_bits & top, mantissa = code & ((1 << mantissa_bits) - 1);
  const int ones = (1 << mantissa_bits) - 1;
  double value;
  if (exponent == top && (!fn || mantissa == ones)) {
    value = !fn && mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp(1 + std::ldexp(mantissa, -mantissa_bits), exponent - bias);
  }
  return sign != 0 ? -value : value;
}

bool same(double a, double b) { return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b); }

// Values that test rounding: all codes, all midpoints, their neighbours, and random bits.
template <class Decode>
std::vector<float> probes(int codes, Decode decode) {
  std::vector<float> values;
  for (int code = 0; code < codes; ++code) {
    const float value = decode(code);
    if (!std::isfinite(value)) continue;
    const float next = decode(code + 1);
    for (float base : {value, std::isfinite(next) ? (value + next) / 2 : value}) {
      for (float x : {base, std::nextafterf(base, INFINITY), std::nextafterf(base, -INFINITY)}) {
        values.push_back(x);
        values.push_back(-x);
      }
    }
  }
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const float x = f32_of_bits(random());
    if (std::isfinite(x)) values.push_back(x);
  }
  return values;
}

// Nearest of the finite codes 0..largest by magnitude, ties to the even code.
template <class Decode>
int nearest(double magnitude, int largest, Decode decode) {
  int low = 0, high = largest;  // codes grow with their values
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (decode(middle) <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - decode(low), above = decode(high) - magnitude;
  if (below == above) return low % 2 == 0 ? low : high;
  return below < above ? low : high;
}

TEST(FloatTypes, F16) {
  for (unsigned code = 0; code < 65536; ++code) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(code));
    ASSERT_TRUE(same(value, defined(code, 5, 10, false))) << code;
    if (!std::isnan(value)) {
      ASSERT_EQ(f32_to_f16(value), code);
    }
  }
  const auto decode = [](int code) { return static_cast<float>(defined(static_cast<unsigned>(code), 5, 10, false)); };
  for (float x : probes(0x7c00, decode)) {
    const double magnitude = std::fabs(static_cast<double>(x));
    const int expected = magnitude >= 65520 ? 0x7c00 : nearest(magnitude, 0x7bff, decode);
    ASSERT_EQ(f32_to_f16(x), expected | (std::signbit(x) ? 0x8000 : 0)) << x;
    ASSERT_EQ(f32_to_f16_saturating(x), std::min(expected, 0x7bff) | (std::signbit(x) ? 0x8000 : 0)) << x;
  }
  EXPECT_EQ(f32_to_f16_saturating(INFINITY), 0x7c00);
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16_saturating(NAN))));
}

TEST(FloatTypes, Bf16) {
  const auto decode = [](int code) { return f32_of_bits(static_cast<std::uint32_t>(code) << 16); };
  for (int code = 0; code < 0x7f80; ++code) {
    ASSERT_EQ(bf16_to_f32(static_cast<std::uint16_t>(code)), decode(code));
    ASSERT_EQ(f32_to_bf16(decode(code)), code);
    // The halfway value is even up, its neighbours go to their own side.
    const std::uint32_t half = (static_cast<std::uint32_t>(code) << 16) + 0x8000u;
    ASSERT_EQ(f32_to_bf16(f32_of_bits(half)), code + (code & 1));
    ASSERT_EQ(f32_to_bf16(f32_of_bits(half - 1)), code);
    ASSERT_EQ(f32_to_bf16(f32_of_bits(half + 1)), code + 1);
    ASSERT_EQ(f32_to_bf16(-f32_of_bits(half + 1)), (code + 1) | 0x8000);
  }
  EXPECT_EQ(f32_to_bf16(INFINITY), 0x7f80);
  EXPECT_EQ(f32_to_bf16_saturating(std::numeric_limits<float>::max()), 0x7f7f);
  EXPECT_EQ(f32_to_bf16_saturating(-INFINITY), 0xff80);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(f32_of_bits(0x7f800001u)))));
}

template <class Encode, class Decode>
void check_eight_bits(int exponent_bits, int mantissa_bits, bool fn, int largest, Encode encode, Decode decode) {
  for (unsigned code = 0; code < 256; ++code) {
    const float value = decode(static_cast<std::uint8_t>(code));
    ASSERT_TRUE(same(value, defined(code, exponent_bits, mantissa_bits, fn))) << code;
    if (std::isfinite(value)) {
      ASSERT_EQ(encode(value), code);
    }
  }
  const auto magnitude_of = [&](int code) {
    return static_cast<float>(defined(static_cast<unsigned>(code), exponent_bits, mantissa_bits, fn));
  };
  for (float x : probes(largest + 1, magnitude_of)) {
    const double magnitude = std::min<double>(std::fabs(x), magnitude_of(largest));
    ASSERT_EQ(encode(x), nearest(magnitude, largest, magnitude_of) | (std::signbit(x) ? 0x80 : 0)) << x;
  }
  for (float x : {INFINITY, -INFINITY, NAN}) EXPECT_TRUE(std::isnan(decode(encode(x))));
}

TEST(FloatTypes, E4m3) {
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);
  check_eight_bits(
      4, 3, true, 0x7e, [](float x) { return f32_to_e4m3(x); }, [](std::uint8_t x) { return e4m3_to_f32(x); });
}

TEST(FloatTypes, E5m2) {
  EXPECT_EQ(e5m2_to_f32(0x7b), 57344.0f);
  check_eight_bits(
      5, 2, false, 0x7b, [](float x) { return f32_to_e5m2(x); }, [](std::uint8_t x) { return e5m2_to_f32(x); });
}

TEST(FloatTypes, ConstantExpressions) {
  static_assert(f16_to_f32(f32_to_f16(1.5f)) == 1.5f);
  static_assert(f32_to_e4m3(1e9f) == 0x7e && f32_to_e5m2(-1e9f) == 0xfb);
}

}  // namespace
}  // namespace octavo
