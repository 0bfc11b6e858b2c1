// Scores far from zero, where neighbouring floats lie further apart than a weight's codes: the largest weight of a row
// is R all the same, and no code exceeds it.
#include <gtest/gtest.h>

#include "compare.hpp"
#include "large_score.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

TEST(LargeScores, TheLargestWeightIsItsRange) {
  // Beside the presets: one maximum for all blocks with and without a fold, and FP8 weights relative to their block.
  std::vector<std::string> names = {"int8,p_reference=running", "int_flash,v_scale=token_folded,row_sum=weights",
                                    "int8_p16,p_reference=running", "sage2_8b,p_reference=block"};
  for (const RecipeInfo& info : recipes()) names.emplace_back(info.name);
  std::vector<std::string> implementations = supported_implementations();
  implementations.emplace_back("reference");
  for (const std::string& recipe : names) {
    for (const std::string& implementation : implementations) {
      for (const MaskKind mask : {MaskKind::none, MaskKind::f32_minus_huge}) {  // the second: scores taken apart
        for (double nats = 50; nats < 1e9; nats *= 1.9) {
          SCOPED_TRACE(recipe + " on " + implementation + ", score " + std::to_string(nats));
          const Outcome got = one_large_score(recipe, nats, mask).run(implementation);
          ASSERT_TRUE(got.status.ok()) << got.status.message();
          for (const float x : got.out) ASSERT_NEAR(x, 1.0f, 1e-3f);
        }
      }
    }
  }
}

// Options at f32's end: as long as a row's largest score is a number, so is its output.
TEST(LargeScores, HugeOptionsStayFinite) {
  constexpr std::int64_t kRows = 40, kD = 32;
  std::vector<float> x(kRows * kD), out(x.size()), expected(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
  for (const float slope : {0.0f, 3e38f, -3e38f, 1.0f}) {
    for (const double softcap : {0.0, 1e4, 1e6, 3e38}) {
      for (const Causal causal : {Causal::none, Causal::bottom_right}) {
        AttentionInputs inputs;
        for (TensorView* view : {&inputs.q, &inputs.k, &inputs.v}) *view = {x.data(), DType::f32, {1, kRows, 1, kD}};
        inputs.alibi_slopes = {&slope, DType::f32, {1}};
        AttentionParams params;
        params.softcap = softcap;
        params.causal = causal;
        for (const char* recipe : {"exact", "int8"}) {
          params.recipe = recipe_of(recipe);
          Execution execution;
          execution.implementation = "reference";
          inputs.out = {expected.data(), DType::f32, {1, kRows, 1, kD}};
          ASSERT_TRUE(attention(inputs, params, execution).ok());
          inputs.out.data = out.data();
          for (const std::string& implementation : supported_implementations()) {
            SCOPED_TRACE(std::string(recipe) + " on " + implementation + ", slope " + std::to_string(slope) +
                         ", softcap " + std::to_string(softcap));
            execution.implementation = implementation;
            ASSERT_TRUE(attention(inputs, params, execution).ok());
            EXPECT_LE(relative_l2(out, expected), recipe == std::string("exact") ? 2e-6 : 1e-3);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo::test
