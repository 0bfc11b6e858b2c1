// GPUs that multiply numbers of E4M3 by mma.sync (8.9, 12.x) or by wgmma (9.0) have kernels of their own for
// SageAttention2, those by wgmma of FP8 scores, too; their sums keep 13 bits, as the model of the accumulator says.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "compare.hpp"
#include "device_twin.hpp"
#include "emulated_runtime.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

Scenario scenario_of(std::int64_t m, std::int64_t n, const std::string& recipe = "sage2_8b") {
  Scenario scenario;
  scenario.recipe = recipe;
  scenario.m = m, scenario.n = n, scenario.d = scenario.dv = 64;
  return scenario;
}
Outcome run_on_device(const Call& call, const std::string& recipe = {}) {
  RunOptions options;
  options.attention = &attention_on_device;
  options.recipe = recipe;
  return call.run("", options);
}
Outcome run_oracle(const Call& call, const std::string& recipe) {
  RunOptions options;
  options.dense = true;
  options.recipe = recipe;
  return call.run("reference", options);
}

bool launched(const EmulatedRuntime& runtime, const std::string& kernel) {
  return std::count(runtime.launched.begin(), runtime.launched.end(), kernel) > 0;
}

TEST(CudaE4m3, IsChosenWhereMmaSyncHasIt) {
  const Call call(scenario_of(20, 70));
  for (const int capability : {80, 86, 89, 90, 100, 120, 121}) {
    EmulatedRuntime runtime;
    runtime.pretend(capability);
    const Outcome got = run_on_device(call);
    ASSERT_TRUE(got.status.ok()) << got.status.message();
    const bool own = capability == 89 || capability / 10 == 12;
    EXPECT_EQ(launched(runtime, "attend_s8_e4m3_64"), own) << capability;
    EXPECT_EQ(launched(runtime, "attend_s8_float8_64"), !own) << capability;
  }
  EmulatedRuntime runtime;
  runtime.pretend(89);
  ASSERT_TRUE(run_on_device(call, "sage2_8b,values=e5m2,p=e5m2,p_range=1").status.ok());
  EXPECT_TRUE(launched(runtime, "attend_s8_float8_64"));  // E5M2 is multiplied in f16
}

TEST(CudaE4m3, IsChosenWithMoreThan128Channels) {
  Scenario wide = scenario_of(20, 70);
  wide.d = 192, wide.dv = 130;
  for (const int capability : {80, 89, 100, 120}) {
    EmulatedRuntime runtime;
    runtime.pretend(capability);
    for (const char* recipe : {"sage2_8b", "sage2_4b"}) {
      runtime.launched.clear();
      ASSERT_TRUE(run_on_device(Call(wide), recipe).status.ok());
      const bool own = capability == 89 || capability == 120;
      EXPECT_TRUE(launched(runtime, own ? "attend_s8_e4m3_256_score_mod" : "attend_s8_float8_256_score_mod"));
    }
  }
}

TEST(CudaE4m3, IsChosenOnHopper) {
  EmulatedRuntime runtime;
  runtime.gpus.at(0).wgmma_kernels = true;
  ASSERT_TRUE(run_on_device(Call(scenario_of(20, 70))).status.ok());
  EXPECT_TRUE(launched(runtime, "attend_sm90_s8_e4m3_64"));
  ASSERT_TRUE(run_on_device(Call(scenario_of(20, 70)), "sage2pp").status.ok());
  EXPECT_TRUE(launched(runtime, "attend_sm90_s8_e4m3_to_f16_64"));
  ASSERT_TRUE(run_on_device(Call(scenario_of(20, 70)), "fp8_e4m3").status.ok());
  EXPECT_TRUE(launched(runtime, "attend_sm90_e4m3_64"));
  // Products of E5M2, in part or throughout, are those of f16.
  for (const char* recipe : {"fp8_e5m2", "fp8_e4m3,values=e5m2,p=e5m2,p_range=1"}) {
    runtime.launched.clear();
    ASSERT_TRUE(run_on_device(Call(scenario_of(20, 70)), recipe).status.ok());
    EXPECT_TRUE(launched(runtime, "attend_float8_float8_64")) << recipe;
  }
  // Without keys no kernel by wgmma is launched, and on 9.0 mma.sync has no product of E4M3.
  ASSERT_TRUE(run_on_device(Call(scenario_of(20, 0))).status.ok());
  EXPECT_TRUE(launched(runtime, "attend_s8_float8_64"));
}

void expect_sums_of_the_model(EmulatedRuntime& runtime, const std::string& model_of, const std::string& recipe,
                              std::int64_t dim = 64) {
  Scenario scenario = scenario_of(64, 1000, recipe);
  scenario.d = scenario.dv = dim;
  const Call call(scenario);
  const Outcome exact = run_oracle(call, recipe), model = run_oracle(call, recipe + ",accumulator=" + model_of);
  const Outcome one_level = run_oracle(call, recipe + ",two_level=off,accumulator=" + model_of);
  const double in_f16 = relative_l2(run_on_device(call).out, exact.out);
  if (model_of == "sm89") runtime.pretend(89);
  runtime.gpus.at(0).wgmma_kernels = true;
  const Outcome got = run_on_device(call);
  const double from_model = relative_l2(got.out, model.out), from_exact = relative_l2(got.out, exact.out);
  EXPECT_LT(from_model, 0.5 * from_exact);
  EXPECT_LT(in_f16, 0.5 * from_exact);
  EXPECT_LT(from_model, 0.5 * relative_l2(got.out, one_level.out));
}
TEST(CudaE4m3, SumsAsTheModelOfTheAccumulator) {
  for (const char* model_of : {"sm89", "sm90"}) {
    SCOPED_TRACE(model_of);
    EmulatedRuntime runtime;
    expect_sums_of_the_model(runtime, model_of, "sage2_8b");
  }
  EmulatedRuntime runtime;
  expect_sums_of_the_model(runtime, "sm89", "sage2_8b", 144);
}
// Of the scores, too, whose sum goes over all channels; that of P V is one of 128 keys.
TEST(CudaE4m3, SumsOfFloat8ScoresAreThoseOfHopper) {
  for (const char* recipe : {"fa3_fp8", "fp8_e4m3"}) {
    SCOPED_TRACE(recipe);
    EmulatedRuntime runtime;
    expect_sums_of_the_model(runtime, "sm90", recipe);
  }
}

}  // namespace
}  // namespace octavo::test
