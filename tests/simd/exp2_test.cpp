// exp2 and log2 as every policy computes them, against the C library in double.
#include "policies.hpp"

namespace octavo::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

void expect_exp2(const SimdPrimitives& w, SimdPrimitives::Unary primitive, double bound) {
  float x[kMostLanes], y[kMostLanes];
  double worst = 0;
  for (double at = -126; at <= 127; at += 0.00137 * w.lanes) {
    for (int i = 0; i < w.lanes; ++i) x[i] = std::min(127.0f, static_cast<float>(at + 0.00137 * i));
    primitive(x, y);
    for (int i = 0; i < w.lanes; ++i) {
      const double truth = std::exp2(static_cast<double>(x[i]));
      worst = std::max(worst, std::fabs(y[i] - truth) / truth);
    }
  }
  EXPECT_LE(worst, bound);
  // Below the range: at most 2^-126 within the bound, which does not matter beside a weight of 1, and never negative.
  // NaN stays NaN.
  const float beyond[] = {-126.5f, -127, -150, -1000, -3e38f, -kInfinity};
  for (float value : beyond) {
    std::fill_n(x, w.lanes, value);
    primitive(x, y);
    for (int i = 0; i < w.lanes; ++i) {
      EXPECT_GE(y[i], 0.0f) << value;
      EXPECT_LE(static_cast<double>(y[i]), 0x1p-126 * (1 + bound)) << value;
    }
  }
  std::fill_n(x, w.lanes, kNan);
  primitive(x, y);
  for (int i = 0; i < w.lanes; ++i) EXPECT_TRUE(std::isnan(y[i]));
}

// Hidden keys have weights of exactly 0.
TEST(Exp2, FromALeastArgument) {
  for_each_policy([](const SimdPrimitives& w) {
    expect_exp2(w, w.exp2_from, 4e-7);
    float x[kMostLanes], y[kMostLanes];
    for (float value : {-126.5f, -150.0f, -3e38f, -kInfinity}) {
      std::fill_n(x, w.lanes, value);
      w.exp2_from(x, y);
      for (int i = 0; i < w.lanes; ++i) EXPECT_EQ(y[i], 0.0f) << value;
    }
  });
}

TEST(Exp2, Quartic) {
  for_each_policy([](const SimdPrimitives& w) { expect_exp2(w, w.exp2_quartic, 3e-6); });
}

TEST(Exp2, Quintic) {
  for_each_policy([](const SimdPrimitives& w) { expect_exp2(w, w.exp2_quintic, 1e-6); });
}

TEST(Exp2, ZeroGivesOne) {
  for_each_policy([](const SimdPrimitives& w) {
    float x[kMostLanes] = {}, y[kMostLanes];
    w.exp2_quintic(x, y);
    for (int i = 0; i < w.lanes; ++i) EXPECT_EQ(y[i], 1.0f);
  });
}

TEST(Log2, OfPositiveNormalNumbers) {
  for_each_policy([](const SimdPrimitives& w) {
    float x[kMostLanes], y[kMostLanes];
    std::mt19937 random(13);
    double worst = 0;
    for (int trial = 0; trial < 20000; ++trial) {
      for (int i = 0; i < w.lanes; ++i)
        x[i] = f32_of_bits(0x00800000u + static_cast<std::uint32_t>(random() % (0x7f800000u - 0x00800000u)));
      w.log2(x, y);
      for (int i = 0; i < w.lanes; ++i) {
        const double truth = std::log2(static_cast<double>(x[i]));
        // The last rounding of a large exponent is not the series' doing.
        worst = std::max(worst, std::fabs(y[i] - truth) - 6e-8 * std::fabs(truth));
      }
    }
    EXPECT_LE(worst, 2e-7);
    std::fill_n(x, w.lanes, kNan);
    x[0] = 1.0f, x[1] = 1024.0f;
    w.log2(x, y);
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_EQ(y[1], 10.0f);
    for (int i = 2; i < w.lanes; ++i) EXPECT_TRUE(std::isnan(y[i]));
  });
}

}  // namespace
}  // namespace octavo::cpu
