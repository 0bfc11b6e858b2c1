#include "spec/epilogue.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace octavo::spec {
namespace {

struct Floats {
  static float exp2(float x) { return std::exp2(x); }
  static float log2(float x) { return std::log2(x); }
};
constexpr float kNothing = -std::numeric_limits<float>::infinity();

TEST(Epilogue, RowsWithoutKeysHaveTheSinkAlone) {
  const RowEnd end = end_of_row<Floats>(kNothing, 0.0f, 2.0f, 2.0 * std::numbers::log2e);
  EXPECT_FALSE(end.sees);
  EXPECT_EQ(lse_of_row<Floats>(end, 2.0f, 0.0), 2.0f);
}

TEST(Epilogue, RowsWithoutSinkKeepTheirSum) {
  const RowEnd end = end_of_row<Floats>(3.0f, 5.0f, kNothing, -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(end.sees);
  EXPECT_EQ(end.factor / end.sum, 1 / 5.0f);
  EXPECT_EQ(share_of_values(end, 5.0f), 1.0f);
  EXPECT_FLOAT_EQ(lse_of_row<Floats>(end, kNothing, 3 * std::numbers::ln2),
                  static_cast<float>(3 * std::numbers::ln2 + std::log(5.0)));
}

// Below the maximum and above it, the sink is one more term of the denominator.
TEST(Epilogue, TheSinkIsOneMoreTerm) {
  for (const float sink : {-4.0f, 1.0f, 2.0f, 30.0f, 200.0f}) {
    constexpr float kMax = 3, kSum = 5;
    const RowEnd end = end_of_row<Floats>(kMax, kSum, sink, static_cast<double>(sink) * std::numbers::log2e);
    const double values = kSum * std::exp2(static_cast<double>(kMax)),
                 all = values + std::exp(static_cast<double>(sink));
    EXPECT_NEAR(share_of_values(end, kSum), values / all, 1e-6) << sink;
    EXPECT_NEAR(lse_of_row<Floats>(end, sink, kMax * std::numbers::ln2), std::log(all), 1e-5 * std::log(all)) << sink;
  }
}

TEST(Epilogue, NanStaysNan) {
  const RowEnd end = end_of_row<Floats>(kNothing, std::nanf(""), kNothing, -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(end.sees);
  EXPECT_TRUE(std::isnan(end.factor / end.sum));
}

}  // namespace
}  // namespace octavo::spec
