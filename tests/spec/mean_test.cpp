// The mean's order of additions, and what is left out of it.
#include "spec/mean.hpp"

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <random>
#include <vector>

namespace octavo::spec {
namespace {

TEST(Mean, SumsBlocksOf128) {
  std::mt19937 random(9);
  std::normal_distribution<float> normal(1000);
  std::vector<float> x(301);
  for (float& value : x) value = normal(random);
  float sums[3] = {0, 0, 0};
  for (std::size_t i = 0; i < x.size(); ++i) sums[i / 128] += x[i];
  EXPECT_EQ(column_mean(x.data(), 301, 1), (sums[0] + sums[1] + sums[2]) / 301.0f);
  float straight = 0;
  for (float value : x) straight += value;
  EXPECT_NE(straight / 301.0f, (sums[0] + sums[1] + sums[2]) / 301.0f);  // else this test shows nothing
}

TEST(Mean, LeavesOutWhatIsNotFinite) {
  const float x[] = {1, NAN, 5, INFINITY, -INFINITY, 3};
  EXPECT_EQ(column_mean(x, 6, 1), 3.0f);
  const float none[] = {NAN, INFINITY};
  EXPECT_EQ(column_mean(none, 2, 1), 0.0f);
  EXPECT_EQ(column_mean(none, 0, 1), 0.0f);
  const float huge[] = {FLT_MAX, FLT_MAX};
  EXPECT_EQ(column_mean(huge, 2, 1), 0.0f);
}

TEST(Mean, Strides) {
  const float x[] = {1, 100, 2, 100, 6, 100};
  EXPECT_EQ(column_mean(x, 3, 2), 3.0f);
}

}  // namespace
}  // namespace octavo::spec
