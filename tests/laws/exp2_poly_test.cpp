// The polynomials' relative error over their whole interval, exactly evaluated and in f32, and the ends of 2^x.
#include "laws/exp2_poly.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace octavo::laws {
namespace {

template <int degree>
double largest_error(const float (&c)[degree + 1]) {
  double largest = 0;
  for (int i = -100000; i <= 100000; ++i) {
    const double f = i / 200000.0;
    double p = 0;
    for (int power = degree; power >= 0; --power) p = p * f + c[power];
    largest = std::max(largest, std::fabs(p / std::exp2(f) - 1));
  }
  return largest;
}

TEST(Exp2Poly, RelativeErrors) {
  EXPECT_LE(largest_error<4>(kExp2Quartic), 2.65e-6);
  EXPECT_LE(largest_error<5>(kExp2Quintic), 1.58e-7);
}

TEST(Exp2Poly, InF32) {
  double quartic = 0, quintic = 0;
  for (float x = -125.9f; x < 10; x += 0.00371f) {
    const double truth = std::exp2(static_cast<double>(x));
    quartic = std::max(quartic, std::fabs(exp2_quartic(x) / truth - 1));
    quintic = std::max(quintic, std::fabs(exp2_quintic(x) / truth - 1));
  }
  EXPECT_LE(quartic, 4e-6);
  EXPECT_LE(quintic, 1e-6);
}

TEST(Exp2Poly, Ends) {
  EXPECT_EQ(exp2_quartic(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(exp2_quintic(-1e30f), 0.0f);
  EXPECT_EQ(exp2_quintic(0.0f), 1.0f);
  EXPECT_EQ(exp2_quintic(-126.0f), 0x1p-126f);
  EXPECT_EQ(round_half_even(255 * exp2_quartic(0.0f)), 255.0f);
  EXPECT_EQ(round_half_even(65535 * exp2_quintic(0.0f)), 65535.0f);
}

}  // namespace
}  // namespace octavo::laws
