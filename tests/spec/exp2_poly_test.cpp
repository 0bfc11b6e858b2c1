// The polynomials' relative error over their whole interval, exactly evaluated. In f32: tests/simd/exp2_test.cpp.
#include "spec/exp2_poly.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace octavo::spec {
namespace {

template <int degree>
double largest_error(const float (&c)[degree + 1], float first) {
  double largest = 0;
  for (int i = 0; i <= 200000; ++i) {
    const double f = first + i / 200000.0;
    double p = 0;
    for (int power = degree; power >= 0; --power) p = p * f + c[power];
    largest = std::max(largest, std::fabs(p / std::exp2(f) - 1));
  }
  return largest;
}

template <class Exp2>
void expect_small_errors() {
  EXPECT_LE(largest_error<4>(Exp2::kQuartic, Exp2::kFirst), 2.65e-6);
  EXPECT_LE(largest_error<5>(Exp2::kQuintic, Exp2::kFirst), 1.58e-7);
  EXPECT_EQ(Exp2::kQuintic[0], 1.0f);
}

TEST(Exp2Poly, RelativeErrors) {
  expect_small_errors<Exp2Nearest>();
  expect_small_errors<Exp2Floor>();
}

}  // namespace
}  // namespace octavo::spec
