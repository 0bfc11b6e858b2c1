// Codes that the caller made himself, every byte that there is: -128 too, which no quantizer here makes.
#include <gtest/gtest.h>

#include <random>

#include "compare.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

// s8 codes [1, rows, 1, dim] with one scale a token.
struct Codes {
  std::vector<std::int8_t> bytes;
  std::vector<float> scales;
  QuantizedView view;

  Codes(const Recipe& recipe, Role role, std::int64_t rows, std::int64_t dim, std::uint32_t seed) {
    std::mt19937 random(seed);
    for (std::int64_t i = 0; i < rows * dim; ++i)
      bytes.push_back(static_cast<std::int8_t>(random() % 3 == 0 ? -128 : static_cast<int>(random() % 256) - 128));
    for (std::int64_t i = 0; i < rows; ++i) scales.push_back(0.01f * static_cast<float>(1 + random() % 3));
    view.codes = {bytes.data(), DType::s8, {1, rows, 1, dim}};
    view.scales = {scales.data(), DType::f32, {1, 1, rows}};
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

// Products of one plane of weights, of two, and of signed ones.
TEST(OwnCodes, TheWholeRange) {
  constexpr std::int64_t kM = 40;
  for (const char* text : {"int8,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off",
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

// Few queries are taken in two planes: both meet the caller's keys.
TEST(OwnCodes, KeysAgainstWideQueries) {
  constexpr std::int64_t kM = 3;
  const Recipe recipe = recipe_of("int8,hadamard=off,smooth_k=off,hadamard_v=off");
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
