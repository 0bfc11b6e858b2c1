// Codes and scales of a row, and identities that rotation and smoothing must keep.
#include "study/group_scales.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "study/distributions.hpp"

namespace octavo::study {
namespace {

TEST(GroupScales, ARowInGroups) {
  std::vector<double> row{127, -63.4, 0.4, 12.7, 1.27, 0, -0.004, 0.006};
  GroupScales options;
  options.channels = 4;
  quantize_row(row.data(), 8, options);
  EXPECT_EQ(row[0], 127);
  EXPECT_EQ(row[1], -63);
  EXPECT_EQ(row[2], 0);
  EXPECT_DOUBLE_EQ(row[4], 1.27);
  EXPECT_DOUBLE_EQ(row[6], 0);
  EXPECT_DOUBLE_EQ(row[7], 0.01);
}

TEST(GroupScales, FormatsOfTheScale) {
  for (const ScaleFormat format : {ScaleFormat::f32, ScaleFormat::f16, ScaleFormat::power_of_two}) {
    std::vector<double> row{100, 33.3, -7, 0.1};
    GroupScales options;
    options.scales = format;
    quantize_row(row.data(), 4, options);
    const double scale = format == ScaleFormat::power_of_two ? 1 : 100.0 / 127;
    EXPECT_NEAR(row[0], 100, 1e-3 * 100) << to_string(format);
    EXPECT_LE(std::fabs(row[1] - 33.3), scale / 2 * 1.001 + 33.3 * 1e-3) << to_string(format);
    if (format == ScaleFormat::power_of_two) {
      EXPECT_EQ(row[1], 33);  // 100 / 127 rounded up is 1
    }
  }
}

TEST(GroupScales, WithEnoughLevelsItIsExact) {
  const Problem problem = make_problem({.name = "biased", .k_bias = 4}, {2, 160, 96, 32, 1}, 3, false);
  for (const bool rotate : {false, true}) {
    for (const bool smooth : {false, true}) {
      GroupScales options;
      options.range = 1 << 30, options.rotate = rotate, options.smooth_q = options.smooth_k = smooth;
      options.quantize_v = true;
      EXPECT_LT(metrics_of(problem, group_attention(problem, options), 0, 2).relative_l2, 1e-6);
    }
  }
}

// The recipe with the same rule: a scale per token, Q and K alone.
TEST(GroupScales, AgreesWithTheRecipePerToken) {
  const Problem problem = make_problem({.name = "gaussian"}, {2, 128, 256, 64}, 1, false);
  const Recipe recipe = only(composed("int_flash"), Part::qk);
  const double expected = metrics_of(problem, run(problem, recipe), 0, 2).relative_l2;
  EXPECT_NEAR(metrics_of(problem, group_attention(problem, {}), 0, 2).relative_l2, expected, 0.01 * expected);
}

TEST(GroupScales, SmoothingTakesTheMeanOfABlock) {
  std::vector<double> x{1, 2, 3, 6, 5, 10};  // [3, 2], blocks of 2
  const std::vector<double> means = smooth_rows(x, 3, 2, 2);
  EXPECT_EQ(means, (std::vector<double>{2, 4, 2, 4, 5, 10}));
  EXPECT_EQ(x, (std::vector<double>{-1, -2, 1, 2, 0, 0}));
}

}  // namespace
}  // namespace octavo::study
