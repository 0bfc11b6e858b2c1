#include "spec/online_softmax.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace octavo::spec {
namespace {

struct Scalars {
  using f32 = float;
  static float set1(float x) { return x; }
  static float add(float a, float b) { return a + b; }
  static float sub(float a, float b) { return a - b; }
  static float mul(float a, float b) { return a * b; }
  static float fma(float a, float b, float c) { return std::fma(a, b, c); }
  static float max(float a, float b) { return a > b ? a : b; }
  static bool less(float a, float b) { return a < b; }
  static bool equal(float a, float b) { return a == b; }
  static float select(bool mask, float a, float b) { return mask ? a : b; }
  static float exp2(float x) { return std::exp2(x); }
};

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// The row sum of all blocks, on the scale of the final maximum, is that of the definition.
TEST(OnlineSoftmax, BlocksSumToTheDenominator) {
  std::mt19937 engine(7);
  std::normal_distribution<float> score(0.0f, 20.0f);
  constexpr float kRange = 255;
  for (const bool running : {false, true}) {
    for (const float offset : {0.0f, 3.5f, -1000.0f}) {
      float m = kNothing, l = 0;
      std::vector<double> all;
      for (int block = 0; block < 40; ++block) {
        std::vector<float> scores(16);
        float row_max = kNothing;
        for (float& s : scores) {
          s = block % 7 == 3 ? kNothing : score(engine);  // some blocks have no visible key
          row_max = std::max(row_max, s);
          if (s != kNothing) all.push_back(static_cast<double>(s) + static_cast<double>(offset));
        }
        const float of_block = row_max == kNothing ? 0.0f : offset;
        const auto step = online_softmax_update<Scalars>(m, row_max, of_block, running, std::log2(kRange));
        float sum = 0;
        for (const float s : scores) {
          if (s == kNothing) continue;
          ASSERT_LE(s, step.shift);
          sum += kRange * std::exp2(s - step.shift);
        }
        l = online_softmax_sum<Scalars>(l, sum, step.alpha, step.beta);
        m = step.m;
      }
      double expected = 0;
      for (const double t : all) expected += std::exp2(t - static_cast<double>(m));
      EXPECT_NEAR(l / expected, 1, 1e-4) << "running " << running << ", offset " << offset;
    }
  }
}

TEST(OnlineSoftmax, MaximumStaysUntilABlockRisesFarAbove) {
  const auto near = online_softmax_update<Scalars>(10.0f, 10.0f + kStaleLogits, 0.0f, false, 0.0f);
  EXPECT_EQ(near.m, 10.0f);
  EXPECT_EQ(near.alpha, 1.0f);
  const auto far = online_softmax_update<Scalars>(10.0f, 11.0f + kStaleLogits, 0.0f, false, 0.0f);
  EXPECT_EQ(far.m, 11.0f + kStaleLogits);
  EXPECT_EQ(far.alpha, std::exp2(-1.0f - kStaleLogits));
  const auto running = online_softmax_update<Scalars>(10.0f, 11.0f, 0.0f, true, 0.0f);
  EXPECT_EQ(running.m, 11.0f);
  EXPECT_EQ(running.alpha, 0.5f);
}

TEST(OnlineSoftmax, BlocksWithoutVisibleKeysChangeNothing) {
  for (const bool running : {false, true}) {
    const auto step = online_softmax_update<Scalars>(10.0f, kNothing, 0.0f, running, 0.0f);
    EXPECT_EQ(step.m, 10.0f);
    EXPECT_EQ(step.alpha, 1.0f);
    EXPECT_EQ(step.beta, 0.0f);
  }
}

}  // namespace
}  // namespace octavo::spec
