// The gain of a channel, and V's centre weights: definitions and their limits.
#include "spec/qk_gain.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "spec/value_centre.hpp"

namespace octavo::spec {
namespace {

TEST(QkGain, SpreadIsTheLargestDistanceFromTheMean) {
  EXPECT_EQ(spread(-3.0f, 5.0f, 1.0f), 4.0f);
  EXPECT_EQ(spread(-3.0f, 5.0f, 2.0f), 5.0f);
  EXPECT_EQ(spread(2.0f, 2.0f, 2.0f), 0.0f);
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(spread(inf, -inf, 0.0f), 0.0f);  // nothing finite
}

TEST(QkGain, GainIsTheRootOfTheRatio) {
  EXPECT_EQ(gain_of(8.0f, 2.0f), 2.0f);
  EXPECT_EQ(gain_of(0.0f, 2.0f), 1.0f);
  EXPECT_EQ(gain_of(2.0f, 0.0f), 1.0f);
  EXPECT_EQ(gain_of(3e38f, 1e-38f), 1.0f);  // no finite ratio
  EXPECT_EQ(gain_of(1e-38f, 3e38f), 1.0f);  // no normal one
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(gain_of(nan, 1.0f), 1.0f);
}

TEST(ValueCentre, WeightIsTheInverseSquare) {
  EXPECT_EQ(centre_weight(2.0f, true), 0.25f);
  EXPECT_EQ(centre_weight(0.0f, true), 0x1p80f);
  EXPECT_EQ(centre_weight(2.0f, false), 0.0f);
  EXPECT_EQ(centre_weight(0x1.1p60f, true), 0.0f);
}

TEST(ValueCentre, CentreIsFinite) {
  EXPECT_EQ(centre_of(3.0f, 2.0f), 1.5f);
  EXPECT_EQ(centre_of(3.0f, 0.0f), 0.0f);
  EXPECT_EQ(centre_of(std::numeric_limits<float>::infinity(), 1.0f), 0.0f);
}

}  // namespace
}  // namespace octavo::spec
