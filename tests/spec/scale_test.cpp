// The quantizer: the error of its codes, at ordinary values and at every edge of f32.
#include "spec/scale.hpp"

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <limits>
#include <random>

namespace octavo::spec {
namespace {

TEST(Scale, AmaxLeavesOutWhatIsNotFinite) {
  float amax = 0;
  for (float x : {1.0f, -3.0f, NAN, INFINITY, -INFINITY, 2.0f}) amax = grow_amax(amax, x);
  EXPECT_EQ(amax, 3.0f);
}

TEST(Scale, ReachesTheRangeAndStaysWithinHalfAStep) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (float range : {kRangeS8, kRangeS4, kRangeQ16}) {
    for (float size : {1e-30f, 1e-3f, 1.0f, 777.0f, 1e30f}) {
      const float amax = size;
      const Scale scale = scale_of(amax, range);
      EXPECT_EQ(integer_code(amax, scale.inverse, range), static_cast<int>(range));
      EXPECT_EQ(integer_code(-amax, scale.inverse, range), -static_cast<int>(range));
      for (int i = 0; i < 1000; ++i) {
        const float x = std::fmax(-amax, std::fmin(amax, normal(random) * size / 3));
        const double back = static_cast<double>(integer_code(x, scale.inverse, range)) * scale.scale;
        // Half a step, and the roundings of scale, inverse and product on a code of up to `range`.
        ASSERT_LE(std::fabs(back - x), (0.5 + 3 * range * 0x1p-24) * scale.scale);
      }
    }
  }
}

TEST(Scale, RoundsHalfToEven) {
  for (int i = -300; i <= 300; ++i) {
    const float half = static_cast<float>(i) + 0.5f;
    ASSERT_EQ(round_half_even(half), std::nearbyintf(half));
    ASSERT_EQ(round_half_even(static_cast<float>(i)), static_cast<float>(i));
    ASSERT_EQ(round_half_even(std::nextafterf(half, 1e9f)), static_cast<float>(i + 1));
  }
}

TEST(Scale, Edges) {
  EXPECT_EQ(scale_of(0, 127).scale, 1.0f);
  EXPECT_EQ(scale_of(0, 127, 0.0f).scale, 0.0f);
  EXPECT_EQ(integer_code(0.0f, scale_of(0, 127).inverse, 127), 0);
  // Subnormal groups: the scale is never below the smallest normal number, so its inverse is finite.
  for (float range : {kRangeS4, kRangeS8, kRangeE4m3, kRangeQ16, kRangeE5m2, 2.25f}) {
    for (float amax : {FLT_TRUE_MIN, FLT_MIN / 4, FLT_MIN, FLT_MAX}) {
      const Scale scale = scale_of(amax, range);
      EXPECT_TRUE(std::isfinite(scale.inverse) && scale.inverse > 0) << amax << " " << range;
      EXPECT_GE(scale.scale, FLT_MIN);
    }
    EXPECT_EQ(scale_of(FLT_MIN / 4, range).scale, FLT_MIN);
  }
  EXPECT_EQ(integer_code(FLT_MAX, scale_of(FLT_MAX, 127).inverse, 127), 127);
  for (float x : {NAN, INFINITY, -INFINITY}) EXPECT_EQ(integer_code(x, 1.0f, 127), 0);
  EXPECT_EQ(integer_code(1e30f, 1.0f, 127), 127);
}

TEST(Scale, FloatCodes) {
  const Scale scale = scale_of(3.0f, kRangeE4m3);
  EXPECT_EQ(e4m3_to_f32(e4m3_code(3.0f, scale.inverse)), 448.0f);
  EXPECT_EQ(e5m2_to_f32(e5m2_code(-3.0f, scale_of(3.0f, kRangeE5m2).inverse)), -57344.0f);
}

TEST(Scale, WideCodesSplitIntoTwoBytes) {
  for (std::int32_t code = -32639; code <= 32639; ++code) {
    const Q16Code wide = split_q16(code);
    ASSERT_EQ(256 * wide.high + wide.low, code);
    ASSERT_TRUE(wide.high >= -127 && wide.high <= 127 && wide.low >= -128 && wide.low <= 127) << code;
  }
}

TEST(Scale, DivisorOfF16Values) {
  for (float amax : {1e-30f, 0.1f, 1.0f, 1.9999f, 2.0f, 255.9f, 256.0f, 511.9f, 512.0f, 65504.0f, 1e38f}) {
    const float divisor = f16_value_divisor(amax), scaled = amax / divisor;
    EXPECT_TRUE(scaled >= 256 && scaled < 512) << amax;
    int exponent;
    EXPECT_EQ(std::frexp(divisor, &exponent), 0.5f);
  }
  EXPECT_EQ(f16_value_divisor(0), 1.0f);
  EXPECT_LT(FLT_TRUE_MIN / f16_value_divisor(FLT_TRUE_MIN), 512.0f);
  EXPECT_TRUE(std::isfinite(1 / f16_value_divisor(FLT_TRUE_MIN)));
}

}  // namespace
}  // namespace octavo::spec
