// Scores far from zero, where neighbouring floats lie further apart than a weight's codes: the largest weight of a row
// is R all the same, and no code exceeds it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "compare.hpp"
#include "large_score.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

TEST(LargeScores, TheLargestWeightIsItsRange) {
  // Beside the presets: one maximum for all blocks with and without a fold, and FP8 weights relative to their block.
  std::vector<std::string> names = {"int8_fast,p_reference=running", "int_flash,v_scale=token_folded,row_sum=weights",
                                    "int8_p16,p_reference=running", "sage2_8b,p_reference=block"};
  for (const RecipeInfo& info : recipes()) names.emplace_back(info.name);
  const std::vector<std::string> implementations = supported_implementations();
  for (const std::string& recipe : names) {
    for (const MaskKind mask : {MaskKind::none, MaskKind::f32_minus_huge}) {  // the second: scores taken apart
      for (double nats = 50; nats < 1e9; nats *= 1.9) {
        const Call call = one_large_score(recipe, nats, mask);
        const Outcome expected = call.run("reference");
        ASSERT_TRUE(expected.status.ok()) << expected.status.message();
        for (const std::string& implementation : implementations) {
          SCOPED_TRACE(recipe + " on " + implementation + ", score " + std::to_string(nats));
          const Outcome got = call.run(implementation);
          ASSERT_TRUE(got.status.ok()) << got.status.message();
          for (const float x : got.out) ASSERT_NEAR(x, 1.0f, 1e-3f);
          for (std::size_t i = 0; i < got.lse.size(); ++i) {
            const double digits = std::max(nats, std::fabs(static_cast<double>(expected.lse[i])));
            ASSERT_NEAR(got.lse[i], expected.lse[i], 1e-3 + 1e-6 * digits);
          }
        }
      }
    }
  }
}

// Two keys of one score in two key blocks, whose values' scales lie far apart: what a block's maximum loses beside the
// score must not decide between them.
TEST(LargeScores, BlocksKeepTheirShares) {
  constexpr std::int64_t kSmall = 30, kLarge = 150;
  for (const char* recipe : {"int8", "int8_p16", "int4", "int8_fast,p_reference=running"}) {
    for (double nats = 100; nats < 1e8; nats *= 10) {
      Call call = one_large_score(recipe, nats, MaskKind::bool_keys);
      const Scenario& s = call.scenario();
      for (std::int64_t key = 0; key < s.n; ++key) call.spoil_mask(key, 1);  // all may attend: scores are taken apart
      const auto row = [&](std::vector<float>& of, std::int64_t key, std::int64_t dim) {
        return of.begin() + static_cast<std::ptrdiff_t>(key * dim);
      };
      std::copy_n(row(call.k_values, kLarge, s.d), s.d, row(call.k_values, kSmall, s.d));
      std::fill_n(row(call.v_values, kSmall, s.dv), s.dv, -1.0f / 200);
      call.place();
      const Outcome expected = call.run("reference");
      ASSERT_TRUE(expected.status.ok()) << expected.status.message();
      for (const float x : expected.out) ASSERT_NEAR(x, 0.4975f, 5e-3f);
      for (const std::string& implementation : supported_implementations()) {
        SCOPED_TRACE(std::string(recipe) + " on " + implementation + ", score " + std::to_string(nats));
        EXPECT_LE(relative_l2(call.run(implementation).out, expected.out), 1e-3);
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
            std::ranges::fill(out, NAN);
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
