// Integrals with known values, and rounding errors against a simulation.
#include "study/closed_forms.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "common/random_tensor.hpp"
#include "study/fp4.hpp"
#include "study/measure.hpp"

namespace octavo::study {
namespace {

TEST(ClosedForms, LargestOfOneAndTwo) {
  EXPECT_NEAR(mean_square_of_largest_magnitude(1), 1, 1e-6);
  // E[max(x^2, y^2)] = 1 + E|x^2 - y^2| / 2, and x^2 - y^2 is the product of two normal numbers of variance 2.
  EXPECT_NEAR(mean_square_of_largest_magnitude(2), 1 + 2 / std::numbers::pi, 1e-6);
  EXPECT_NEAR(mean_exp_of_largest(1, 1.5), std::exp(1.5 * 1.5 / 2), 1e-5);
  EXPECT_NEAR(mean_exp_of_largest(128, 0), 1, 1e-6);
}

TEST(ClosedForms, RoundingErrorsOfAFloat) {
  const io::Tensor x = tool::random_tensor("x", DType::f32, {100000}, 5);
  const float* data = static_cast<const float*>(x.data());
  double error = 0, square = 0;
  for (int i = 0; i < 100000; ++i) {
    const double value = data[i];
    error += std::pow(round_e4m3(value) - value, 2), square += value * value;
  }
  EXPECT_NEAR(rounding_error(Format::e4m3, 1), std::sqrt(error / square), 0.03 * std::sqrt(error / square));
  EXPECT_NEAR(rounding_error(Format::e5m2, 1), 2 * rounding_error(Format::e4m3, 1), 1e-12);
  EXPECT_EQ(rounding_error(Format::input, 64), 0);
}

TEST(ClosedForms, SourcesOfARecipe) {
  const Predicted half = predict(composed("int_flash_half"), 1, 4096, 64);
  EXPECT_EQ(half.p, 0);
  EXPECT_EQ(half.v, 0);
  EXPECT_NEAR(predict(composed("int_flash_half"), 2, 4096, 64).qk, 2 * half.qk, 1e-12);
  // 7 levels instead of 127.
  EXPECT_NEAR(predict(composed("int4"), 1, 4096, 64).qk, half.qk * 127 / 7, 1e-12);
  // Only the running maximum makes P's error depend on the number of keys.
  const Recipe block = composed("int8_fast"), running = composed("int8_fast", "p_reference=running");
  EXPECT_EQ(predict(block, 1, 1024, 64).p, predict(block, 1, 65536, 64).p);
  EXPECT_GT(predict(running, 1, 65536, 64).p, 2 * predict(running, 1, 1024, 64).p);
}

}  // namespace
}  // namespace octavo::study
