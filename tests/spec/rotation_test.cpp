// The rotation against its matrix, written out from the definition of Walsh-Hadamard entries.
#include "spec/rotation.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

namespace octavo::spec {
namespace {

TEST(Rotation, BlocksOfPowersOfTwo) {
  const auto blocks = [](std::int64_t dim) {
    std::vector<std::int64_t> sizes;
    for (std::int64_t left = dim; left > 0; left -= sizes.back()) sizes.push_back(rotation_block(left));
    return sizes;
  };
  EXPECT_EQ(blocks(128), (std::vector<std::int64_t>{128}));
  EXPECT_EQ(blocks(96), (std::vector<std::int64_t>{64, 32}));
  EXPECT_EQ(blocks(40), (std::vector<std::int64_t>{32, 8}));
  EXPECT_EQ(blocks(15), (std::vector<std::int64_t>{8, 4, 2, 1}));
  EXPECT_EQ(blocks(576), (std::vector<std::int64_t>{512, 64}));
}

TEST(Rotation, FactorIsTheNearestFloat) {
  for (std::int64_t n = 1; n <= 1024; n *= 2) {
    EXPECT_EQ(rotation_factor(n), static_cast<float>(1 / std::sqrt(static_cast<double>(n)))) << n;
  }
}

TEST(Rotation, IsTheMatrix) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (std::int64_t dim : {1, 2, 3, 15, 40, 64, 96, 128, 200}) {
    std::vector<float> x(static_cast<std::size_t>(dim));
    for (float& value : x) value = normal(random);
    std::vector<double> expected(x.size(), 0.0);
    for (std::int64_t begin = 0; begin < dim;) {
      std::int64_t n = 1;
      while (2 * n <= dim - begin) n *= 2;
      for (std::int64_t r = 0; r < n; ++r) {
        for (std::int64_t c = 0; c < n; ++c) {
          const std::uint32_t hash = (static_cast<std::uint32_t>(begin + c) + 1) * 0x9E3779B9u;
          const int sign = 1 - 2 * static_cast<int>(hash >> 31);
          const int entry = std::popcount(static_cast<unsigned>(r & c)) % 2 == 0 ? 1 : -1;
          expected[static_cast<std::size_t>(begin + r)] +=
              entry * sign * static_cast<double>(x[static_cast<std::size_t>(begin + c)]) / std::sqrt(n);
        }
      }
      begin += n;
    }
    std::vector<float> rotated = x;
    rotate_row(rotated.data(), dim);
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(rotated[i], expected[i], 3e-6) << dim;
    rotate_row_back(rotated.data(), dim);
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(rotated[i], x[i], 3e-6) << dim;
  }
}

TEST(Rotation, SignsAreMixed) {
  int negative = 0;
  for (std::int64_t c = 0; c < 128; ++c) negative += rotation_negates(c);
  EXPECT_GT(negative, 48);
  EXPECT_LT(negative, 80);
}

}  // namespace
}  // namespace octavo::spec
