#include "octavo/merge.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "card.hpp"
#include "device_twin.hpp"

namespace octavo::test {
namespace {

TEST(CudaMergeTest, IsTheCpus) {
  [[maybe_unused]] const Card runtime;
  constexpr std::int64_t kRows = 7, kHeads = 3, kDim = 40;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> o_a(2 * kRows * kHeads * kDim), o_b(o_a), out(o_a), expected(o_a);
  std::vector<float> lse_a(2 * kHeads * kRows), lse_b(lse_a), lse(lse_a), expected_lse(lse_a);
  for (auto* x : {&o_a, &o_b, &lse_a, &lse_b})
    for (float& y : *x) y = 3 * normal(random);
  const float infinity = std::numeric_limits<float>::infinity();
  lse_a[0] = lse_b[1] = lse_a[2] = lse_b[2] = -infinity;
  lse_a[3] = std::numeric_limits<float>::quiet_NaN();
  const auto o = [&](std::vector<float>& x) { return TensorView(x.data(), DType::f32, {2, kRows, kHeads, kDim}); };
  const auto l = [&](std::vector<float>& x) { return TensorView(x.data(), DType::f32, {2, kHeads, kRows}); };
  ASSERT_TRUE(merge_state(o(o_a), l(lse_a), o(o_b), l(lse_b), o(expected), l(expected_lse)).ok());
  for (bool in_place : {false, true}) {
    DeviceTwins read({DeviceType::cuda, 0}), written({DeviceType::cuda, 0});
    std::vector<float> o_a_copy = o_a, lse_a_copy = lse_a;
    const TensorView a = written.to_device(o(o_a_copy)), la = written.to_device(l(lse_a_copy));
    const TensorView to = in_place ? a : written.to_device(o(out)), lto = in_place ? la : written.to_device(l(lse));
    const Status status = merge_state(a, la, read.to_device(o(o_b)), read.to_device(l(lse_b)), to, lto);
    ASSERT_TRUE(status.ok()) << status.message();
    written.to_host();
    const std::vector<float>& got = in_place ? o_a_copy : out;
    const std::vector<float>& got_lse = in_place ? lse_a_copy : lse;
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(std::isnan(got[i]), std::isnan(expected[i]));
      if (!std::isnan(expected[i])) {
        EXPECT_FLOAT_EQ(got[i], expected[i]);
      }
    }
    for (std::size_t i = 0; i < got_lse.size(); ++i) {
      EXPECT_EQ(std::isnan(got_lse[i]), std::isnan(expected_lse[i]));
      if (!std::isnan(expected_lse[i])) {
        EXPECT_FLOAT_EQ(got_lse[i], expected_lse[i]);
      }
    }
  }
}

}  // namespace
}  // namespace octavo::test
