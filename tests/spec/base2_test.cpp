// What stays finite on its way to base 2, and the series of tanh against the function.
#include "spec/base2.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace octavo::spec {
namespace {

TEST(Base2, FiniteNumbersStayFinite) {
  EXPECT_EQ(in_base_2(1.0f), 1.44269504f);
  EXPECT_EQ(in_base_2(kMostF32), kMostF32);
  EXPECT_EQ(in_base_2(-3e38f), -kMostF32);
  EXPECT_EQ(in_base_2(INFINITY), INFINITY);
  EXPECT_EQ(in_base_2(-INFINITY), -INFINITY);
  EXPECT_TRUE(std::isnan(in_base_2(NAN)));
  EXPECT_EQ(bounded(-INFINITY), -kMostF32);
  EXPECT_EQ(bounded(-2.0f), -2.0f);
  EXPECT_TRUE(std::isnan(bounded(NAN)));
}

TEST(Base2, TanhSeries) {
  double largest = 0;
  for (double t = -kTanhNear; t <= kTanhNear; t += 1e-4) {
    const double t2 = t * t, series = t + t * t2 * (kTanh3 + t2 * (kTanh5 + t2 * kTanh7));
    if (t != 0) largest = std::max(largest, std::fabs(series / std::tanh(t) - 1));
  }
  EXPECT_LT(largest, 4e-7);
}

}  // namespace
}  // namespace octavo::spec
