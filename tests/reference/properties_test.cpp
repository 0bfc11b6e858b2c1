// What holds for any inputs: symmetries of softmax that survive quantization.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "cases.hpp"

namespace octavo::reference {
namespace {

TEST(Properties, KeysOfABlockMayBePermuted) {
  // Within a key block the codes see the same maximum; means and scales see the same values. smooth_k=off: the mean's
  // f32 sum depends on the order.
  for (const char* recipe : {"exact", "int8_fast,smooth_k=off", "int_flash", "int_flash_half"}) {
    Case c(20, 256, 32, 16), permuted(20, 256, 32, 16);
    std::vector<std::int64_t> order(256);
    std::iota(order.begin(), order.end(), 0);
    std::mt19937 random(3);
    std::shuffle(order.begin(), order.begin() + 128, random);
    std::shuffle(order.begin() + 128, order.end(), random);
    for (std::int64_t j = 0; j < 256; ++j) {
      std::copy_n(c.k_row(order[static_cast<std::size_t>(j)]), 32, permuted.k_row(j));
      std::copy_n(c.v_row(order[static_cast<std::size_t>(j)]), 16, permuted.v_row(j));
    }
    const std::vector<double> truth = as_double(c.run(recipe));
    EXPECT_LE(relative_l2(permuted.run(recipe), truth), 1e-6) << recipe;
  }
}

TEST(Properties, AConstantAddedToAllKeysMovesTheLseOnly) {
  for (const char* recipe : {"exact", "int8", "int8_block", "sage2_8b"}) {
    Case c(20, 300, 64), shifted(20, 300, 64);
    for (std::int64_t j = 0; j < 300; ++j) {
      for (std::int64_t x = 0; x < 64; ++x) shifted.k_row(j)[x] += x % 2 == 0 ? 8.0f : -3.0f;
    }
    const std::vector<double> truth = as_double(c.run(recipe));
    EXPECT_LE(relative_l2(shifted.run(recipe), truth), 1e-3) << recipe;
    for (std::int64_t i = 0; i < 20; ++i) {
      double constant = 0;
      for (std::int64_t x = 0; x < 64; ++x) constant += c.q_row(i)[x] * (x % 2 == 0 ? 8.0 : -3.0) / 8;
      EXPECT_NEAR(shifted.lse[static_cast<std::size_t>(i)] - c.lse[static_cast<std::size_t>(i)], constant, 2e-4)
          << recipe;
    }
  }
}

TEST(Properties, ScalingVByAPowerOfTwoScalesO) {
  for (const RecipeInfo& info : recipes()) {
    if (info.name == "fp8_e5m2") continue;  // no scale: subnormal codes do not scale
    Case c(20, 200, 32), scaled(20, 200, 32);
    for (float& x : scaled.v) x *= 0.125f;
    c.run(info.name);
    scaled.run(info.name);
    for (std::size_t i = 0; i < c.out.size(); ++i) ASSERT_EQ(scaled.out[i] * 8, c.out[i]) << info.name;
    EXPECT_EQ(scaled.lse, c.lse) << info.name;
  }
}

TEST(Properties, ConstantVComesBack) {
  for (const auto& [recipe, error] : {std::pair{"exact", 1e-6},
                                      {"int_flash", 1e-6},
                                      {"int8", 5e-3},
                                      {"int8_block", 5e-3},
                                      {"int_flash_half", 1e-3},
                                      {"int8_p16,hadamard_v=off", 1e-4}}) {
    Case c(20, 500, 32, 16);
    std::fill(c.v.begin(), c.v.end(), 0.7f);
    const std::vector<double> truth(c.out.size(), 0.7f);
    EXPECT_LE(relative_l2(c.run(recipe), truth), error) << recipe;
  }
}

TEST(Properties, SmoothQOffIsPrefixInvariant) {
  Case longer(40, 200, 32), shorter(20, 200, 32);
  std::copy_n(longer.q.begin(), shorter.q.size(), shorter.q.begin());
  shorter.k = longer.k;
  shorter.v = longer.v;
  longer.run("int8_fast,smooth_q=off");
  shorter.run("int8_fast,smooth_q=off");
  EXPECT_TRUE(std::equal(shorter.out.begin(), shorter.out.end(), longer.out.begin()));
  EXPECT_TRUE(std::equal(shorter.lse.begin(), shorter.lse.end(), longer.lse.begin()));
}

TEST(Properties, TheFoldMasksWhatTheFloorSays) {
  // Tokens of V that are zero add nothing to O and all of their weight to the row sum.
  Case c(20, 256, 32);
  for (std::int64_t j = 0; j < 128; ++j) std::fill_n(c.v_row(j), c.dv, 0.0f);
  const std::vector<double> truth = as_double(c.run("exact"));
  const std::vector<float> lse = c.lse;
  EXPECT_LE(relative_l2(c.run("int8"), truth), 0.025);
  for (std::size_t i = 0; i < lse.size(); ++i) EXPECT_NEAR(c.lse[i], lse[i], 0.02);
  std::fill(c.v.begin(), c.v.end(), 0.0f);
  for (const RecipeInfo& info : recipes()) {
    for (float x : c.run(info.name)) ASSERT_EQ(x, 0.0f) << info.name;
  }
}

TEST(Properties, OptionsForUnevenV) {
  Case c(32, 1024, 32, 64);
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (std::int64_t d = 0; d < 64; ++d) {
    const float size = std::exp(1.5f * normal(random));
    for (std::int64_t j = 0; j < c.n; ++j) c.v_row(j)[d] *= size;
  }
  const std::vector<double> truth = as_double(c.run("exact"));
  const double plain = relative_l2(c.run("int8_fast,hadamard_v=off"), truth);
  EXPECT_LT(relative_l2(c.run("int8"), truth), plain);
  // A bias of V that is larger than its signal: smoothing takes it out before 8 bits see it.
  for (float& x : c.v) x = 0.1f * normal(random) + 5;
  const std::vector<double> biased = as_double(c.run("exact"));
  EXPECT_LT(relative_l2(c.run("int8_block,smooth_v=on"), biased), 0.2 * relative_l2(c.run("int8_block"), biased));
}

TEST(Properties, EveryPresetIsNoWorseThanItsName) {
  Case c(32, 200, 64, 48, 17, 2, 2, 1);
  const std::vector<double> truth = as_double(c.run("exact"));
  for (const RecipeInfo& info : recipes()) {
    const double error = relative_l2(c.run(info.name), truth);
    EXPECT_LE(error, info.name == "int_flash_int4"                    ? 1.0
                     : info.name == "sage2_4b" || info.name == "int4" ? 0.3
                                                                      : 0.15)
        << info.name;
    EXPECT_TRUE(info.name == "exact" || error > 1e-3) << info.name;
  }
}

}  // namespace
}  // namespace octavo::reference
