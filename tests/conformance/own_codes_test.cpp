// Codes that the caller made himself, every byte that there is: -128 too, which no quantizer here makes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "compare.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

// s8 codes [1, rows, 1, dim] with one scale a token, or as many as `groups` has.
struct Codes {
  std::vector<std::int8_t> bytes;
  std::vector<float> scales;
  QuantizedView view;

  Codes(const Recipe& recipe, Role role, std::int64_t rows, std::int64_t dim, std::uint32_t seed,
        std::int64_t groups = 0) {
    std::mt19937 random(seed);
    for (std::int64_t i = 0; i < rows * dim; ++i)
      bytes.push_back(static_cast<std::int8_t>(random() % 3 == 0 ? -128 : static_cast<int>(random() % 256) - 128));
    if (groups == 0) groups = rows;
    for (std::int64_t i = 0; i < groups; ++i) scales.push_back(0.01f * static_cast<float>(1 + random() % 3));
    view.codes = {bytes.data(), DType::s8, {1, rows, 1, dim}};
    view.scales = {scales.data(), DType::f32, {1, 1, groups}};
    view.role = role;
    view.rotated = false;
    view.recipe = recipe;
  }
};

constexpr std::int64_t kN = 150, kD = 64;

// Rows of [1, m, 1, kD] on every implementation against the oracle.
void expect_agreement(AttentionInputs inputs, const Recipe& recipe, std::int64_t m) {
  SCOPED_TRACE(to_string(recipe));
  std::vector<float> out(static_cast<std::size_t>(m * kD)), expected(out.size());
  AttentionParams params;
  params.recipe = recipe;
  Execution execution;
  execution.implementation = "reference";
  inputs.out = {expected.data(), DType::f32, {1, m, 1, kD}};
  const Status oracle = attention(inputs, params, execution);
  ASSERT_TRUE(oracle.ok()) << oracle.message();
  inputs.out.data = out.data();
  for (const std::string& implementation : supported_implementations()) {
    execution.implementation = implementation;
    const Status status = attention(inputs, params, execution);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_LE(relative_l2(out, expected), 1e-3) << implementation;
  }
}

// The fold has the logarithm of a token's scale: one below zero, or infinite, is never a finite wrong number.
TEST(OwnCodes, ScalesThatHaveNoLogarithm) {
  const Recipe recipe = recipe_of("int8_fast,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off");
  constexpr std::int64_t kM = 20, kBad = 70;
  for (const float scale : {-0.01f, -INFINITY, INFINITY, NAN}) {
    Codes q(recipe, Role::q, kM, kD, 1), k(recipe, Role::k, kN, kD, 2), v(recipe, Role::v, kN, kD, 3);
    v.scales[kBad] = scale;
    AttentionInputs inputs;
    inputs.quantized_q = &q.view;
    inputs.quantized_k = &k.view;
    inputs.quantized_v = &v.view;
    std::vector<float> out(static_cast<std::size_t>(kM * kD));
    inputs.out = {out.data(), DType::f32, {1, kM, 1, kD}};
    AttentionParams params;
    params.recipe = recipe;
    std::vector<std::string> implementations = supported_implementations();
    implementations.emplace_back("reference");
    for (const std::string& implementation : implementations) {
      SCOPED_TRACE(implementation + ", scale " + std::to_string(scale));
      Execution execution;
      execution.implementation = implementation;
      params.causal = Causal::none;
      ASSERT_TRUE(attention(inputs, params, execution).ok());
      EXPECT_TRUE(std::ranges::none_of(out, [](float x) { return std::isfinite(x); }));
      // Under the diagonal from the top left no row sees the token.
      params.causal = Causal::top_left;
      for (const double softcap : {0.0, 30.0}) {
        params.softcap = softcap;
        ASSERT_TRUE(attention(inputs, params, execution).ok());
        EXPECT_TRUE(std::ranges::all_of(out, [](float x) { return std::isfinite(x); })) << "softcap " << softcap;
      }
      params.softcap = 0;
    }
  }
}

// Products of one plane of weights, of two, and of signed ones.
TEST(OwnCodes, TheWholeRange) {
  constexpr std::int64_t kM = 40;
  for (const char* text : {"int8_fast,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off",
                           "int8_p16,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off",
                           "int_flash,v_scale=token_folded,row_sum=weights"}) {
    const Recipe recipe = recipe_of(text);
    const Codes q(recipe, Role::q, kM, kD, 1), k(recipe, Role::k, kN, kD, 2), v(recipe, Role::v, kN, kD, 3);
    AttentionInputs inputs;
    inputs.quantized_q = &q.view;
    inputs.quantized_k = &k.view;
    inputs.quantized_v = &v.view;
    expect_agreement(inputs, recipe, kM);
  }
}

// Groups per thread, of SageAttention's Hopper kernels (slices of 16 queries and 128 keys) and of its others: each row
// gets the scale that its lane had there, so that codes made by them mean here what they meant there.
TEST(OwnCodes, GroupsOfALane) {
  constexpr std::int64_t kM = 75;
  for (const auto& [w, t] : {std::pair{16, 128}, {32, 64}, {64, 64}, {16, 64}}) {
    const std::string slices = ",q_group=" + std::to_string(w) + ",k_group=" + std::to_string(t);
    const Recipe recipe = recipe_of("int8_block,hadamard=off,smooth_k=off,v_scale=token_folded" + slices);
    const Codes q(recipe, Role::q, kM, kD, 5, (kM + w - 1) / w * 8),
        k(recipe, Role::k, kN, kD, 6, (kN + t - 1) / t * 4);
    const Codes v(recipe, Role::v, kN, kD, 7);
    AttentionInputs inputs;
    inputs.quantized_q = &q.view;
    inputs.quantized_k = &k.view;
    inputs.quantized_v = &v.view;
    expect_agreement(inputs, recipe, kM);

    // The same with one scale a token: that of warp r / W, lane r % 8 of Q, of tile r / T, lane r % 8 / 2 of K.
    const Recipe by_token = recipe_of("int8_fast,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off");
    std::vector<float> q_scales, k_scales;
    for (std::int64_t r = 0; r < kM; ++r) q_scales.push_back(q.scales[static_cast<std::size_t>(r / w * 8 + r % 8)]);
    for (std::int64_t r = 0; r < kN; ++r) k_scales.push_back(k.scales[static_cast<std::size_t>(r / t * 4 + r % 8 / 2)]);
    QuantizedView views[] = {q.view, k.view, v.view};
    views[0].scales = {q_scales.data(), DType::f32, {1, 1, kM}};
    views[1].scales = {k_scales.data(), DType::f32, {1, 1, kN}};
    for (QuantizedView& view : views) view.recipe = by_token;
    std::vector<float> out(kM * kD), expected(out.size());
    Execution execution;
    execution.implementation = "reference";
    AttentionParams params;
    params.recipe = recipe;
    inputs.out = {out.data(), DType::f32, {1, kM, 1, kD}};
    ASSERT_TRUE(attention(inputs, params, execution).ok());
    params.recipe = by_token;
    inputs.quantized_q = &views[0], inputs.quantized_k = &views[1], inputs.quantized_v = &views[2];
    inputs.out.data = expected.data();
    ASSERT_TRUE(attention(inputs, params, execution).ok());
    EXPECT_EQ(out, expected) << slices;
    // Codes of other slices are not taken for these.
    inputs.quantized_q = &q.view, inputs.quantized_k = &k.view, inputs.quantized_v = &v.view;
    params.recipe = recipe;
    params.recipe.q_group = w == 32 ? 16 : 32;
    const Status refused = attention(inputs, params, execution);
    EXPECT_NE(refused.message().find("q_group"), std::string::npos) << refused.message();
  }
}

// Few queries are taken in two planes: both meet the caller's keys.
TEST(OwnCodes, KeysAgainstWideQueries) {
  constexpr std::int64_t kM = 3;
  const Recipe recipe = recipe_of("int8_fast,hadamard=off,smooth_k=off,hadamard_v=off");
  const Codes k(recipe, Role::k, kN, kD, 2), v(recipe, Role::v, kN, kD, 3);
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> q(kM * kD);
  for (float& x : q) x = normal(random);
  AttentionInputs inputs;
  inputs.q = {q.data(), DType::f32, {1, kM, 1, kD}};
  inputs.quantized_k = &k.view;
  inputs.quantized_v = &v.view;
  expect_agreement(inputs, recipe, kM);
}

}  // namespace
}  // namespace octavo::test
