// The polynomials' relative error over their whole interval, exactly evaluated. In f32: tests/simd/exp2_test.cpp.
#include "spec/exp2_poly.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace octavo::spec {
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

}  // namespace
}  // namespace octavo::spec
