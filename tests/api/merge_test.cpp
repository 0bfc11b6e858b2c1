// The algebra of partial results, and what merge_state() refuses.
#include "octavo/merge.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace octavo {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t kB = 2, kM = 3, kH = 4, kDv = 5;
constexpr std::size_t kRows = kB * kM * kH;

// O [B, M, H, Dv] and LSE [B, H, M].
struct State {
  std::vector<float> o = std::vector<float>(kRows * kDv, -1.0f);
  std::vector<float> lse = std::vector<float>(kRows, -1.0f);
  TensorView o_view() const { return {o.data(), DType::f32, {kB, kM, kH, kDv}}; }
  TensorView lse_view() const { return {lse.data(), DType::f32, {kB, kH, kM}}; }
};

State random_state(std::uint32_t seed) {
  State state;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& value : state.o) value = normal(random);
  for (float& value : state.lse) value = 5 * normal(random);
  return state;
}

State merged(const State& a, const State& b) {
  State result;
  const Status status =
      merge_state(a.o_view(), a.lse_view(), b.o_view(), b.lse_view(), result.o_view(), result.lse_view());
  EXPECT_TRUE(status.ok()) << status.message();
  return result;
}

void expect_near(const State& a, const State& b, double tolerance) {
  for (std::size_t i = 0; i < a.o.size(); ++i) EXPECT_NEAR(a.o[i], b.o[i], tolerance);
  for (std::size_t i = 0; i < a.lse.size(); ++i) EXPECT_NEAR(a.lse[i], b.lse[i], tolerance);
}

TEST(MergeTest, IsTheDefinition) {
  const State a = random_state(1), b = random_state(2), c = merged(a, b);
  for (std::int64_t batch = 0; batch < kB; ++batch) {
    for (std::int64_t row = 0; row < kM; ++row) {
      for (std::int64_t head = 0; head < kH; ++head) {
        const auto l = static_cast<std::size_t>((batch * kH + head) * kM + row);
        const double weight_a = std::exp(double{a.lse[l]}), weight_b = std::exp(double{b.lse[l]});
        EXPECT_NEAR(c.lse[l], std::log(weight_a + weight_b), 1e-5);
        for (std::int64_t d = 0; d < kDv; ++d) {
          const auto i = static_cast<std::size_t>(((batch * kM + row) * kH + head) * kDv + d);
          EXPECT_NEAR(c.o[i], (weight_a * a.o[i] + weight_b * b.o[i]) / (weight_a + weight_b), 1e-6);
        }
      }
    }
  }
}

TEST(MergeTest, CommutativeBitByBitAndAssociative) {
  const State a = random_state(1), b = random_state(2), c = random_state(3);
  const State ab = merged(a, b), ba = merged(b, a);
  EXPECT_EQ(ab.o, ba.o);
  EXPECT_EQ(ab.lse, ba.lse);
  expect_near(merged(ab, c), merged(a, merged(b, c)), 3e-6);
}

TEST(MergeTest, AnEmptyPartChangesNothing) {
  const State a = random_state(1);
  State empty;
  for (float junk : {0.0f, kNan}) {
    std::fill(empty.o.begin(), empty.o.end(), junk);
    std::fill(empty.lse.begin(), empty.lse.end(), kNothing);
    EXPECT_EQ(merged(a, empty).o, a.o);
    EXPECT_EQ(merged(empty, a).lse, a.lse);
    const State both = merged(empty, empty);
    for (float value : both.o) EXPECT_EQ(value, 0.0f);
    for (float value : both.lse) EXPECT_EQ(value, kNothing);
  }
}

TEST(MergeTest, NanPropagates) {
  State a = random_state(1), b = random_state(2);
  a.lse[0] = kNan;           // (b 0, h 0, row 0)
  b.o[1 * kH * kDv] = kNan;  // (b 0, row 1, h 0, d 0)
  const State c = merged(a, b);
  EXPECT_TRUE(std::isnan(c.lse[0]));
  for (std::size_t d = 0; d < kDv; ++d) EXPECT_TRUE(std::isnan(c.o[d]));
  EXPECT_TRUE(std::isnan(c.o[1 * kH * kDv]));
  EXPECT_FALSE(std::isnan(c.o[1 * kH * kDv + 1]));
  EXPECT_FALSE(std::isnan(c.lse[1]));
}

TEST(MergeTest, HugeDifferencesDoNotOverflow) {
  State a = random_state(1), b = random_state(2);
  std::fill(a.lse.begin(), a.lse.end(), 3e38f);
  std::fill(b.lse.begin(), b.lse.end(), -3e38f);
  const State c = merged(a, b);
  EXPECT_EQ(c.o, a.o);
  EXPECT_EQ(c.lse, a.lse);
}

TEST(MergeTest, TheResultMayBeOneOfTheInputs) {
  const State a = random_state(1), b = random_state(2), expected = merged(a, b);
  State left = a, right = b;
  ASSERT_TRUE(
      merge_state(left.o_view(), left.lse_view(), b.o_view(), b.lse_view(), left.o_view(), left.lse_view()).ok());
  EXPECT_EQ(left.o, expected.o);
  EXPECT_EQ(left.lse, expected.lse);
  ASSERT_TRUE(
      merge_state(a.o_view(), a.lse_view(), right.o_view(), right.lse_view(), right.o_view(), right.lse_view()).ok());
  EXPECT_EQ(right.o, expected.o);
  EXPECT_EQ(right.lse, expected.lse);
}

TEST(MergeTest, AnyStridesAndLayouts) {
  const State a = random_state(1), b = random_state(2), expected = merged(a, b);
  // The same tensors as HND views, the result with channels backwards.
  const auto hnd = [](const State& s) {
    return TensorView(s.o.data(), DType::f32, {kB, kH, kM, kDv}, {kM * kH * kDv, kDv, kH * kDv, 1});
  };
  State result;
  const TensorView out(result.o.data() + kDv - 1, DType::f32, {kB, kH, kM, kDv}, {kM * kH * kDv, kDv, kH * kDv, -1});
  ASSERT_TRUE(merge_state(hnd(a), a.lse_view(), hnd(b), b.lse_view(), out, result.lse_view(), Layout::hnd).ok());
  EXPECT_EQ(result.lse, expected.lse);
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t d = 0; d < kDv; ++d) EXPECT_EQ(result.o[row * kDv + kDv - 1 - d], expected.o[row * kDv + d]);
  }
}

TEST(MergeTest, Refusals) {
  const State a = random_state(1), b = random_state(2);
  State result;
  const auto refused = [&](const TensorView& o_a, const TensorView& lse_a, const TensorView& out, const TensorView& lse,
                           const char* words) {
    const Status status = merge_state(o_a, lse_a, b.o_view(), b.lse_view(), out, lse);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  };
  const TensorView o = a.o_view(), l = a.lse_view(), out = result.o_view(), lse = result.lse_view();
  refused({}, l, out, lse, "o_a is missing");
  refused({a.o.data(), DType::f16, {kB, kM, kH, kDv}}, l, out, lse, "o_a is f16");
  refused({a.o.data(), DType::f32, {kB * kM, kH, kDv}}, l, out, lse, "4 axes");
  refused({a.o.data(), DType::f32, {kB, kM, kH, 4}}, l, out, lse, "o_b has shape [2, 3, 4, 5]; o_a has [2, 3, 4, 4]");
  refused(o, {a.lse.data(), DType::f32, {kB, kM, kH}}, out, lse, "lse_a has shape [2, 3, 4]; it must be [2, 4, 3]");
  refused(o, l, {nullptr, DType::f32, {kB, kM, kH, kDv}}, lse, "null pointer");
  refused(o, l, {result.o.data(), DType::f32, {kB, kM, kH, kDv}, {0, 20, 5, 1}}, lse, "share memory");
  refused(o, l, out, {result.o.data(), DType::f32, {kB, kH, kM}}, "out overlaps lse");
  // The same memory, but with heads and rows exchanged: elements would be read after they were written.
  refused(o, l, {a.o.data(), DType::f32, {kB, kM, kH, kDv}, {60, 5, 15, 1}}, lse, "without being the same view");
  for (float value : result.o) EXPECT_EQ(value, -1.0f);
}

TEST(MergeTest, EmptyTensors) {
  const TensorView o(nullptr, DType::f32, {0, kM, kH, kDv}), lse(nullptr, DType::f32, {0, kH, kM});
  EXPECT_TRUE(merge_state(o, lse, o, lse, o, lse).ok());
}

}  // namespace
}  // namespace octavo
