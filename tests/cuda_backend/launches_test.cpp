// What a call launches: the passes over Q, K and V whose bytes docs/cuda.md counts.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "device_twin.hpp"
#include "emulated_runtime.hpp"
#include "octavo/quantize.hpp"
#include "same_codes.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

std::vector<std::string> launches_of(const std::string& recipe, DType dtype = DType::f16, std::int64_t n = 130) {
  EmulatedRuntime runtime;
  runtime.gpus.at(0).wgmma_kernels = true;
  Scenario scenario;
  scenario.recipe = recipe;
  scenario.dtype = dtype;
  scenario.m = 130, scenario.n = n, scenario.d = scenario.dv = 64;
  RunOptions options;
  options.attention = &attention_on_device;
  const Outcome got = Call(scenario).run("", options);
  EXPECT_TRUE(got.status.ok()) << got.status.message();
  return runtime.launched;
}

using Kernels = std::vector<std::string>;

TEST(CudaLaunches, OfInt8Fast) {
  EXPECT_EQ(launches_of("int8_fast"),
            (Kernels{"row_stats_64", "head_stats_64", "pack_call_64", "finish_operands_64", "attend_sm90_64_folded"}));
}
TEST(CudaLaunches, OfInt8) {
  EXPECT_EQ(launches_of("int8"), (Kernels{"row_stats_64", "head_stats_64", "pack_call_64", "finish_operands_64",
                                          "find_heavy_keys", "attend_sm90_64_kept", "join_kept_keys_f16_64"}));
}
// V's range comes with its sums, which are taken again where it is prescaled.
TEST(CudaLaunches, OfBf16) {
  EXPECT_EQ(launches_of("int8", DType::bf16).size(), 7u);
  EXPECT_EQ(launches_of("int8_fast", DType::bf16).size(), 5u);
}
// Of more blocks of keys a launch repeats those with stray rows: in turn they would take one thread block too long.
TEST(CudaLaunches, OfManyKeys) {
  const auto passes = [](std::int64_t n) {
    const Kernels launched = launches_of("int8_fast", DType::f16, n);
    return std::count(launched.begin(), launched.end(), "row_stats_64");
  };
  EXPECT_EQ(passes(2048), 1);
  EXPECT_EQ(passes(2049), 2);
}
// Ranges of V without a mean need no pass of their own.
TEST(CudaLaunches, OfSage2) {
  EXPECT_EQ(launches_of("sage2_8b"),
            (Kernels{"row_stats_64", "head_stats_64", "pack_call_64", "attend_sm90_s8_e4m3_64"}));
}
// Of the kernels with every option, which mma.sync alone has for kept keys beside floats.
TEST(CudaLaunches, OfSage2WithKeptKeys) {
  EXPECT_EQ(launches_of("sage2_8b,keep_first=1,keep_near=2"),
            (Kernels{"row_stats_64", "head_stats_64", "pack_call_64", "attend_s8_float8_64_score_mod",
                     "join_kept_keys_f16_64"}));
}
TEST(CudaLaunches, OfExact) { EXPECT_EQ(launches_of("exact"), (Kernels{"pack_call_64", "attend_sm90_f16_64"})); }
// Each operand's range depends on its means.
TEST(CudaLaunches, OfRangesOfSmoothedRows) {
  EXPECT_EQ(launches_of("int8_fast,q_scale=tensor,k_scale=tensor"),
            (Kernels{"row_stats_64", "head_stats_64", "row_stats_64", "pack_call_64", "finish_operands_64",
                     "attend_sm90_64_folded"}));
}

// All kernels but the first may begin before the one before them has ended; the emulation sees that they wait.
TEST(CudaLaunches, OverlapTheOneBefore) {
  EmulatedRuntime runtime;
  Scenario scenario;
  scenario.m = scenario.n = 130, scenario.d = scenario.dv = 64;
  RunOptions options;
  options.attention = &attention_on_device;
  EXPECT_TRUE(Call(scenario).run("", options).status.ok());
  ASSERT_GT(runtime.overlapping.size(), 5u);
  for (std::size_t i = 0; i < runtime.overlapping.size(); ++i) {
    EXPECT_EQ(runtime.overlapping[i], i > 0) << runtime.launched[i];
  }
}
// Nor the first one behind memory that is cleared.
TEST(CudaLaunches, DoNotOverlapAClear) {
  EmulatedRuntime runtime;
  Tensor k = normal_rows(DType::f16, {{1, 2, 130, 64}, {}});
  DeviceTwins twins({DeviceType::cuda, 0});
  const TensorView view = twins.to_device(k.view());
  ASSERT_TRUE(quantize(view, Role::k, recipe_of("int8_fast,k_scale=tensor"), Layout::nhd).ok());
  EXPECT_EQ(runtime.launched,
            (Kernels{"row_stats_64", "head_stats_64", "row_stats_64", "finish_scales", "quantize_rows_64"}));
  EXPECT_EQ(runtime.overlapping, (std::vector<bool>{false, true, false, true, true}));
}

}  // namespace
}  // namespace octavo::test
