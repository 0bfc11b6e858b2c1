// What a call launches: the passes over Q, K and V whose bytes docs/cuda.md counts.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "device_twin.hpp"
#include "emulated_runtime.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

std::vector<std::string> launches_of(const std::string& recipe) {
  EmulatedRuntime runtime;
  runtime.gpus.at(0).wgmma_kernels = true;
  Scenario scenario;
  scenario.recipe = recipe;
  scenario.dtype = DType::f16;
  scenario.m = scenario.n = 130, scenario.d = scenario.dv = 64;
  RunOptions options;
  options.attention = &attention_on_device;
  const Outcome got = Call(scenario).run("", options);
  EXPECT_TRUE(got.status.ok()) << got.status.message();
  return runtime.launched;
}

using Kernels = std::vector<std::string>;

TEST(CudaLaunches, OfInt8Fast) {
  EXPECT_EQ(launches_of("int8_fast"), (Kernels{"channel_stats_64", "channel_stats_64", "finish_means",  // K
                                               "channel_stats_64",                                      // Q
                                               "pack_rows_64",                                          // K
                                               "pack_values_64", "find_largest_scales", "value_factors", "fold_scales",
                                               "pack_rows_64",  // Q
                                               "unrotate_means_64", "add_smooth_q_bias_64", "attend_sm90_64_folded"}));
}
TEST(CudaLaunches, OfInt8) {
  EXPECT_EQ(launches_of("int8"),
            (Kernels{"channel_stats_64",     "channel_stats_64",     "finish_means",  // K
                     "channel_stats_64",     "find_qk_gains_64",                      // Q
                     "sum_weighted_rows_64", "finish_centres_64",                     // V
                     "channel_stats_64",                                              // Q
                     "pack_rows_64",                                                  // K
                     "pack_values_64",       "find_largest_scales",  "value_factors",      "fold_scales",
                     "pack_rows_64",  // Q
                     "unrotate_means_64",    "add_smooth_q_bias_64", "find_block_offsets", "find_heavy_keys",
                     "attend_sm90_64_kept",  "join_kept_keys_f16_64"}));
}
TEST(CudaLaunches, OfSage2) {
  EXPECT_EQ(launches_of("sage2_8b"), (Kernels{"sum_channels_64", "finish_means",  // K
                                              "find_ranges_64",                   // V
                                              "pack_rows_64",                     // K
                                              "pack_values_64", "value_factors",
                                              "pack_rows_64",  // Q
                                              "attend_sm90_s8_e4m3_64"}));
}
// Of the kernels with every option, which mma.sync alone has for kept keys beside floats.
TEST(CudaLaunches, OfSage2WithKeptKeys) {
  EXPECT_EQ(launches_of("sage2_8b,keep_first=1,keep_near=2"),
            (Kernels{"sum_channels_64", "finish_means",  // K
                     "find_ranges_64",                   // V
                     "pack_rows_64",                     // K
                     "pack_values_64", "value_factors",
                     "pack_rows_64",  // Q
                     "attend_s8_float8_64_score_mod", "join_kept_keys_f16_64"}));
}
TEST(CudaLaunches, OfExact) {
  EXPECT_EQ(launches_of("exact"),
            (Kernels{"pack_rows_64", "pack_values_64", "value_factors", "pack_rows_64", "attend_sm90_f16_64"}));
}

}  // namespace
}  // namespace octavo::test
