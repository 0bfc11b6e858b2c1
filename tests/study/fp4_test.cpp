// Rounding by enumeration of each format's numbers, and inputs that FP4 represents exactly.
#include "study/fp4.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/elements.hpp"
#include "common/random_tensor.hpp"

namespace octavo::study {
namespace {

// The nearest of the numbers; of two, the one at an even place (in both formats codes ascend with magnitudes).
double nearest(const std::vector<double>& magnitudes, double x) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < magnitudes.size(); ++i) {
    const double distance = std::fabs(magnitudes[i] - std::fabs(x)), least = std::fabs(magnitudes[best] - std::fabs(x));
    if (distance < least || (distance == least && i % 2 == 0)) best = i;
  }
  return std::copysign(magnitudes[best], x);
}

TEST(Fp4, E2M1ByEnumeration) {
  const std::vector<double> numbers{0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (double x = -8; x <= 8; x += 1.0 / 64) EXPECT_EQ(round_e2m1(x), nearest(numbers, x)) << x;
}

TEST(Fp4, E4M3ByEnumeration) {
  std::vector<std::uint8_t> codes;
  for (int code = 0; code < 127; ++code) codes.push_back(static_cast<std::uint8_t>(code));
  const std::vector<double> numbers = tool::to_f64(TensorView(codes.data(), DType::e4m3, {127}));
  for (const double x : {0.0, 0x1p-10, 0x1.8p-10, 0x1p-9, 0x1.4p-7, 0.99, 1.0625, 1.1875, 17.5, 447.0, 500.0, 1e9}) {
    EXPECT_EQ(round_e4m3(x), nearest(numbers, x)) << x;
    EXPECT_EQ(round_e4m3(-x), nearest(numbers, -x)) << x;
  }
}

TEST(Fp4, AGroupSharesAScale) {
  std::vector<double> x(16, 0.01);
  x[3] = -12;
  round_group(x.data(), 16, 1);
  EXPECT_EQ(x[3], -12);
  EXPECT_EQ(x[0], 0);  // below half of the smallest number times the scale of 2
  std::vector<double> zeros(16, 0);
  round_group(zeros.data(), 16, 1);
  EXPECT_EQ(zeros[5], 0);
}

// Equal scores, and values that E2M1 holds: O is the mean of V.
TEST(Fp4, ExactWhereTheFormatIs) {
  const io::Tensor q = tool::random_tensor("q", DType::f32, {1, 3, 32}, 1);
  const io::Tensor k = tool::touched_tensor("k", DType::f32, {1, 48, 32});
  const io::Tensor v = tool::touched_tensor("v", DType::f32, {1, 48, 32});
  const float numbers[] = {6, -0.5f, 1.5f, 3};
  for (std::int64_t i = 0; i < 48 * 32; ++i) tool::store(v.view(), i, numbers[i / 32 % 4]);
  for (const bool rotate : {false, true}) {
    const Problem problem("exact", q, k, v, false);
    const Output output = fp4_attention(problem, rotate);
    for (const double x : output.out) EXPECT_NEAR(x, 2.5, 1e-12);
  }
}

}  // namespace
}  // namespace octavo::study
