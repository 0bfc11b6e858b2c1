// The gates of the recipes on the kernels: relative L2 of O against exact arithmetic, D 128, N 4096, 256 query rows.
#include <gtest/gtest.h>

#include <cstdio>
#include <iterator>
#include <vector>

#include "attention_in_double.hpp"
#include "gaussian_bands.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

constexpr std::int64_t kM = 256, kN = 4096, kD = 128;

Scenario scenario(DType dtype = DType::f32) {
  Scenario s;
  s.m = kM;
  s.n = kN;
  s.d = s.dv = kD;
  s.dtype = dtype;
  return s;
}

void expect_bands(Call& call, const std::vector<Band>& bands) {
  call.place();
  const std::vector<std::int64_t> rows = all_rows(kM);
  // The values after rounding to the dtype.
  const DType dtype = call.scenario().dtype;
  std::vector<float> q = call.q_values, k = call.k_values, v = call.v_values;
  for (auto* values : {&q, &k, &v})
    for (float& x : *values) x = rounded_to(dtype, x);
  const std::vector<double> expected =
      attention_in_double({q.data(), k.data(), v.data(), kM, kN, kD, kD}, {}, rows).out;
  for (const std::string& implementation : supported_implementations()) {
    for (const Band& band : bands) {
      const Outcome got = call.run(implementation, {.recipe = band.recipe});
      ASSERT_TRUE(got.status.ok()) << got.status.message();
      const double error = 100 * error_of_rows(got.out.data(), rows, expected);
      std::printf("%-17s %-15s %-5s %.4f %%\n", implementation.c_str(), band.recipe,
                  std::string(to_string(dtype)).c_str(), error);
      EXPECT_LE(error, band.most) << implementation << " " << band.recipe;
      EXPECT_GE(error, band.least) << implementation << " " << band.recipe;
    }
  }
}

TEST(Gates, Gaussian) {
  Call call(scenario());
  std::vector<Band> bands(std::begin(kGaussianBands), std::end(kGaussianBands));
  bands.push_back({"exact", 0, 0.01});
  expect_bands(call, bands);
}

TEST(Gates, ExactOf16Bits) {
  Call f16(scenario(DType::f16)), bf16(scenario(DType::bf16));
  expect_bands(f16, {{"exact", 0, 0.05}, kInt8Band});
  expect_bands(bf16, {{"exact", 0, 0.3}, kInt8Band});
}

// One key whose scores exceed the others by about 8 nats and whose value is a fiftieth of theirs, in a direction common
// to all queries.
TEST(Gates, SinkWithATinyValue) {
  Call call(scenario());
  const float root = std::sqrt(static_cast<float>(kD));
  for (std::int64_t c = 0; c < kD; ++c) {
    const float direction = (c % 3 == 0 ? -1.0f : 1.0f) / root;
    for (std::int64_t i = 0; i < kM; ++i) call.q_values[static_cast<std::size_t>(i * kD + c)] += 4 * direction;
    call.k_values[static_cast<std::size_t>(c)] = 8 * root / 4 * direction;
    call.v_values[static_cast<std::size_t>(c)] *= 0.02f;
  }
  expect_bands(call, {{"int8", 0.8, 2.0}, {"int_flash", 30, 300}});
}

TEST(Gates, KeyBias) {
  Call call(scenario());
  for (std::int64_t j = 0; j < kN; ++j)
    for (std::int64_t c : {3, 40, 77, 110}) call.k_values[static_cast<std::size_t>(j * kD + c)] += 4;
  expect_bands(call, {{"int8", 0.8, 1.60}});
}

}  // namespace
}  // namespace octavo::test
