// s~ and its edges.
#include "spec/fold.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace octavo::spec {
namespace {

TEST(Fold, RelativeScales) {
  EXPECT_EQ(folded_scale(3.0f, 3.0f), 1.0f);
  EXPECT_EQ(folded_scale(0.75f, 3.0f), 0.25f);
  EXPECT_EQ(folded_scale(0.0f, 3.0f), 0x1p-60f);
  EXPECT_EQ(folded_scale(1e-30f, 1e30f), 0x1p-60f);
  EXPECT_TRUE(std::isnan(folded_scale(NAN, 3.0f)));
}

TEST(Fold, ScalesThatHaveNoLogarithm) {
  for (const float scale : {0.0f, -0.0f, 1e-45f, 3.0f, 3e38f}) EXPECT_EQ(scale_to_fold(scale), scale);
  for (const float scale : {-1e-45f, -3.0f, INFINITY, -INFINITY, NAN}) EXPECT_TRUE(std::isnan(scale_to_fold(scale)));
  EXPECT_TRUE(std::isnan(scale_to_fold(-1.0)));
}

TEST(Fold, LargestScale) {
  float largest = 0;
  for (float scale : {0.0f, 0.5f, NAN, 0.25f}) largest = grow_largest_scale(largest, scale);
  EXPECT_EQ(largest_scale_or_one(largest), 0.5f);
  EXPECT_EQ(largest_scale_or_one(0.0f), 1.0f);
}

TEST(Fold, PowerOfTwoScale) {
  EXPECT_EQ(power_of_two_scale(1.0f), 1.0f);
  EXPECT_EQ(power_of_two_scale(0.99f), 0.5f);
  EXPECT_EQ(power_of_two_scale(3e38f), 0x1p127f);
  EXPECT_EQ(power_of_two_scale(0x1p-126f), 0x1p-126f);
  EXPECT_EQ(power_of_two_scale(1e-45f), 0x1p-126f);
}

}  // namespace
}  // namespace octavo::spec
