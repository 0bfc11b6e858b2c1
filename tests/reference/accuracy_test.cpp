// The gates of the recipes at D 128, N 4096: relative L2 error of O against the exact result, in per cent, and bands
// around the figures measured when the recipes were designed, so that a step left out or done twice shows.
#include <gtest/gtest.h>

#include "cases.hpp"
#include "gaussian_bands.hpp"

namespace octavo::reference {
namespace {

constexpr std::int64_t kRows = 64, kKeys = 4096, kDim = 128;

double error_percent(Case& attention_case, std::string_view recipe) {
  const std::vector<double> truth = as_double(attention_case.run("exact"));
  return 100 * relative_l2(attention_case.run(recipe), truth);
}

// One key that draws about 8 nats more than the others and whose value is a fiftieth of theirs. It lies in a direction
// that all channels share, which every query has in common.
void make_sink(Case& c) {
  const float channels = std::sqrt(static_cast<float>(kDim));
  for (std::int64_t i = 0; i < c.d; ++i) {
    const float direction = (i % 3 == 0 ? -1.0f : 1.0f) / channels;
    for (std::int64_t row = 0; row < c.m; ++row) c.q_row(row)[i] += 4 * direction;
    c.k_row(0)[i] = 8 * channels / 4 * direction;
  }
  for (std::int64_t i = 0; i < c.dv; ++i) c.v_row(0)[i] *= 0.02f;
}

void make_key_bias(Case& c) {
  for (std::int64_t row = 0; row < c.n; ++row) {
    for (std::int64_t i : {3, 40, 77, 110}) c.k_row(row)[i] += 4;
  }
}

using test::Band;

TEST(Accuracy, Gaussian) {
  Case c(kRows, kKeys, kDim);
  for (const Band& band : test::kGaussianBands) {
    const double error = error_percent(c, band.recipe);
    EXPECT_GE(error, band.least) << band.recipe;
    EXPECT_LE(error, band.most) << band.recipe;
  }
}

TEST(Accuracy, SinkWithTinyValue) {
  Case c(kRows, kKeys, kDim);
  make_sink(c);
  for (const Band& band : {Band{"int8", 0.8, 2.0},
                           {"int8_p16", 0.4, 2.0},
                           {"int_flash_half", 0.6, 1.8},
                           {"int8_block", 5, 30},
                           {"int_flash", 30, 300}}) {
    const double error = error_percent(c, band.recipe);
    EXPECT_GE(error, band.least) << band.recipe;
    EXPECT_LE(error, band.most) << band.recipe;
  }
}

TEST(Accuracy, KeyBias) {
  Case c(kRows, kKeys, kDim);
  make_key_bias(c);
  for (const Band& band : {Band{"int8", 0.8, 1.60}, {"int_flash_half", 0.8, 1.8}, {"sage1", 0.9, 1.8}}) {
    const double error = error_percent(c, band.recipe);
    EXPECT_GE(error, band.least) << band.recipe;
    EXPECT_LE(error, band.most) << band.recipe;
  }
}

TEST(Accuracy, DecodeTakesQueriesIn16Bits) {
  Case few(8, kKeys, kDim), many(16, kKeys, kDim);
  // The same first rows; only the number of rows decides about Q's width.
  std::copy(many.q.begin(), many.q.begin() + 8 * kDim, few.q.begin());
  few.k = many.k;
  few.v = many.v;
  EXPECT_LE(error_percent(few, "int8"), 1.4);
  EXPECT_LT(error_percent(few, "int4"), 0.95 * error_percent(few, "int4,smooth_q=off"));
}

TEST(Accuracy, FinerWeightsApproachExact) {
  Case c(32, 1024, 64);
  const double coarse = error_percent(c, "int8_fast,p_range=63"), fine = error_percent(c, "int8_fast"),
               finest = error_percent(c, "int8_p16");
  EXPECT_GT(coarse, 1.5 * fine);
  EXPECT_GT(fine, 1.2 * finest);
}

}  // namespace
}  // namespace octavo::reference
