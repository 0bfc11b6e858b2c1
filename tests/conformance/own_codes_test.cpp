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

TEST(OwnCodes, TheWholeRange) {
  constexpr std::int64_t kM = 40, kN = 150, kD = 64;
  const Recipe recipe = recipe_of("int8,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off");
  const Codes q(recipe, Role::q, kM, kD, 1), k(recipe, Role::k, kN, kD, 2), v(recipe, Role::v, kN, kD, 3);
  std::vector<float> out(kM * kD), expected(kM * kD);
  AttentionInputs inputs;
  inputs.quantized_q = &q.view;
  inputs.quantized_k = &k.view;
  inputs.quantized_v = &v.view;
  AttentionParams params;
  params.recipe = recipe;
  Execution execution;
  execution.implementation = "reference";
  inputs.out = {expected.data(), DType::f32, {1, kM, 1, kD}};
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

}  // namespace
}  // namespace octavo::test
