// Stray rows against sorting: the lower quartile of the exponents, and 8 to 16 times it.
#include "spec/stray_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace octavo::spec {
namespace {

TEST(StrayRows, LimitIsTheLowerQuartileAndThreeExponents) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 500; ++trial) {
    const std::size_t rows = 1 + random() % 40;
    ExponentHistogram histogram;
    std::vector<int> exponents;
    for (std::size_t i = 0; i < rows; ++i) {
      const float amax = random() % 5 == 0 ? 0.0f
                                           : std::ldexp(1.0f + 0.001f * static_cast<float>(random() % 900),
                                                        static_cast<int>(random() % 60) - 30);
      add_row(histogram, amax);
      if (amax > 0) exponents.push_back(std::ilogb(amax) + 127);
    }
    if (exponents.empty()) {
      EXPECT_EQ(exponent_limit(histogram), kAnyExponent);
      continue;
    }
    std::sort(exponents.begin(), exponents.end());
    const int typical = exponents[(exponents.size() + 3) / 4 - 1];
    EXPECT_EQ(exponent_limit(histogram), static_cast<std::uint32_t>(typical) + 3);
  }
}

TEST(StrayRows, EightTimesLargerIsStray) {
  ExponentHistogram histogram;
  for (int i = 0; i < 8; ++i) add_row(histogram, 1.5f);
  const std::uint32_t limit = exponent_limit(histogram);
  EXPECT_FALSE(is_stray(0.0f, limit));
  EXPECT_FALSE(is_stray(1e-20f, limit));
  EXPECT_FALSE(is_stray(15.9f, limit));
  EXPECT_TRUE(is_stray(16.0f, limit));
  EXPECT_TRUE(is_stray(3e38f, limit));
}

TEST(StrayRows, NothingIsStrayWithoutALimit) { EXPECT_FALSE(is_stray(3.4e38f, exponent_limit({}))); }

}  // namespace
}  // namespace octavo::spec
