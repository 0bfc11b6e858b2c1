#include "spec/merge.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "spec/alibi.hpp"

namespace octavo::spec {
namespace {

struct Floats {
  using f32 = float;
  static float set1(float x) { return x; }
  static float add(float a, float b) { return a + b; }
  static float mul(float a, float b) { return a * b; }
};
constexpr double kNothing = -std::numeric_limits<double>::infinity();

TEST(Merge, StatesMayChangePlaces) {
  std::mt19937 engine(3);
  std::normal_distribution<float> draw(0.0f, 10.0f);
  for (int i = 0; i < 1000; ++i) {
    const float lse_a = draw(engine), lse_b = draw(engine), a = draw(engine), b = draw(engine);
    const MergeWeights ab = merge_weights(lse_a, lse_b), ba = merge_weights(lse_b, lse_a);
    ASSERT_EQ(ab.lse, ba.lse);
    ASSERT_EQ(merge_channels<Floats>(ab, a, b), merge_channels<Floats>(ba, b, a));
    ASSERT_NEAR(ab.a + ab.b, 1, 1e-6);
    const double both = std::log(std::exp(static_cast<double>(lse_a)) + std::exp(static_cast<double>(lse_b)));
    ASSERT_NEAR(ab.lse, both, 1e-6 * std::fabs(both) + 1e-7);
  }
}

TEST(Merge, StatesWithoutKeysHaveNoPart) {
  const MergeWeights weights = merge_weights(kNothing, 2.5);
  EXPECT_EQ(weights.lse, 2.5f);
  EXPECT_EQ(merge_channels<Floats>(weights, std::nanf(""), 7.0f), 7.0f);
  const MergeWeights none = merge_weights(kNothing, kNothing);
  EXPECT_EQ(none.lse, -std::numeric_limits<float>::infinity());
  EXPECT_EQ(merge_channels<Floats>(none, 1.0f, 1.0f), 0.0f);
}

TEST(Merge, NanStaysNan) {
  const MergeWeights weights = merge_weights(std::nan(""), 1.0);
  EXPECT_TRUE(std::isnan(weights.lse));
  EXPECT_TRUE(std::isnan(merge_channels<Floats>(weights, 1.0f, 1.0f)));
}

// No visible key has a larger term than the peak.
TEST(Alibi, PeakIsTheLargestTerm) {
  constexpr std::int64_t kBegin = 3, kEnd = 40;
  for (const octavo::Alibi alibi : {octavo::Alibi::causal, octavo::Alibi::symmetric}) {
    for (const float slope : {-0.5f, 0.0f, 0.25f}) {
      for (const std::int64_t diagonal : {-5, 3, 17, 39, 40, 60}) {
        const auto peak = static_cast<float>(alibi_peak(alibi, slope, kBegin, kEnd, diagonal));
        bool found = false;
        for (std::int64_t key = kBegin; key < kEnd; ++key) {
          const auto distance = static_cast<float>(alibi_distance(alibi, key, diagonal));
          EXPECT_GE(slope * peak, slope * distance) << diagonal << " " << key;
          found = found || distance == peak;
        }
        EXPECT_TRUE(found) << "the peak is the distance of a visible key";
      }
    }
  }
}

TEST(Alibi, SymmetricDistancesAreNegativeOnBothSides) {
  EXPECT_EQ(alibi_distance(octavo::Alibi::causal, 7, 4), 3);
  EXPECT_EQ(alibi_distance(octavo::Alibi::symmetric, 7, 4), -3);
  EXPECT_EQ(alibi_distance(octavo::Alibi::symmetric, 1, 4), -3);
  EXPECT_EQ(alibi_distance(octavo::Alibi::symmetric, 4, 4), 0);
}

}  // namespace
}  // namespace octavo::spec
