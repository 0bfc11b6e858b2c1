#include "spec/call_steps.hpp"

#include <gtest/gtest.h>

namespace octavo::spec {
namespace {

Problem problem_of(const char* recipe) {
  Problem problem;
  problem.recipe = *parse_recipe(recipe);
  return problem;
}

TEST(CallSteps, ExactAsksForNothing) {
  const CallSteps steps = steps_of(problem_of("exact"));
  EXPECT_FALSE(steps.rotate_qk || steps.rotate_v || steps.smooth_q || steps.smooth_k || steps.smooth_v || steps.fold);
  EXPECT_FALSE(steps.k_needs.any() || steps.v_needs.any() || steps.q_range || steps.score_mod);
}

TEST(CallSteps, TheOffsetIsNeededWhereScoresAreComparedWithOthers) {
  EXPECT_TRUE(steps_of(problem_of("int8")).smooth_k_logit_offset);  // kept keys have whole scores
  Problem problem = problem_of("int8_fast");
  EXPECT_TRUE(steps_of(problem).fold);
  EXPECT_FALSE(steps_of(problem).smooth_k_logit_offset);
  float lse = 0;
  problem.lse = &lse;
  EXPECT_TRUE(steps_of(problem).smooth_k_logit_offset);
  problem.recipe.smooth_k = false;
  EXPECT_FALSE(steps_of(problem).smooth_k_logit_offset);
}

TEST(CallSteps, CodesOfTheCallerNeedNoStatistics) {
  Problem problem = problem_of("int_flash");
  EXPECT_TRUE(steps_of(problem).v_needs.extremes);
  problem.v.quantized = true;
  EXPECT_FALSE(steps_of(problem).v_needs.any());
}

TEST(CallSteps, SmoothQBiasOrSixteenBits) {
  Problem problem = problem_of("int8");
  for (const std::int64_t rows : {1, 15, 16, 200}) {
    EXPECT_EQ(takes_q16(problem, rows), rows < 16) << rows;
    EXPECT_EQ(has_smooth_q_bias(problem, rows), rows >= 16) << rows;
  }
  problem.q.quantized = true;
  EXPECT_FALSE(takes_q16(problem, 1));
  EXPECT_FALSE(has_smooth_q_bias(problem, 200));
  const float mean = 0;
  problem.q.mean = &mean;
  EXPECT_TRUE(has_smooth_q_bias(problem, 1));
}

}  // namespace
}  // namespace octavo::spec
