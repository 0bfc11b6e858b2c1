// GPUs that multiply codes of s4 (8.x) have kernels of their own for recipes of 4-bit scores, with the bits of those
// that multiply the same codes as s8: sums of integers are exact.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "device_twin.hpp"
#include "draw.hpp"
#include "emulated_runtime.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

Outcome run_on_device(const Call& call, const std::string& recipe = {}) {
  RunOptions options;
  options.attention = &attention_on_device;
  options.recipe = recipe;
  return call.run("sm80", options);
}

// The names of the attention kernels that a GPU of that compute capability runs.
std::string kernels_of(const Scenario& scenario, int capability, const std::string& recipe = {}) {
  EmulatedRuntime runtime;
  runtime.pretend(capability);
  const Outcome got = run_on_device(Call(scenario), recipe);
  EXPECT_TRUE(got.status.ok()) << got.status.message();
  std::string names;
  for (const std::string& name : runtime.launched)
    if (name.find("attend_") == 0) names += (names.empty() ? "" : " ") + name;
  return names;
}

Scenario scenario_of(const std::string& recipe, std::int64_t m, std::int64_t dim) {
  Scenario scenario;
  scenario.recipe = recipe;
  scenario.m = m, scenario.n = 70, scenario.d = scenario.dv = dim;
  return scenario;
}

TEST(CudaS4, IsChosenWhereMmaSyncHasIt) {
  const Scenario int4 = scenario_of("int4", 20, 64), sage = scenario_of("sage2_4b", 20, 128);
  for (const int capability : {80, 86, 87, 89}) {
    EXPECT_EQ(kernels_of(int4, capability), "attend_s4_s8_64_folded");
    EXPECT_EQ(kernels_of(sage, capability), capability == 89 ? "attend_s4_e4m3_128" : "attend_s4_float8_128");
  }
  for (const int capability : {90, 100, 120}) {
    EXPECT_EQ(kernels_of(int4, capability), "attend_s8_s8_64_folded");
    EXPECT_EQ(kernels_of(sage, capability), capability == 120 ? "attend_s8_e4m3_128" : "attend_s8_float8_128");
  }
  Scenario masked = int4;
  masked.mask = MaskKind::f32_full;
  EXPECT_EQ(kernels_of(masked, 80), "attend_s4_s8_64_score_mod");
  // What has the kernel with every option has it here, too.
  EXPECT_EQ(kernels_of(masked, 80, "int4,keep_first=1,keep_near=2"), "attend_s4_s8_64_score_mod");
  EXPECT_EQ(kernels_of(masked, 80, "int_flash_int4"), "attend_s4_s8_64_score_mod");
  EXPECT_EQ(kernels_of(int4, 80, "int_flash_int4,keep_first=1"), "attend_s4_s8_64_score_mod");
  EXPECT_EQ(kernels_of(sage, 80, "sage2_4b,keep_first=1,keep_near=2"), "attend_s4_float8_128_score_mod");
}

TEST(CudaS4, IsNotChosenForWhatItLacks) {
  EXPECT_EQ(kernels_of(scenario_of("int4", 20, 160), 80), "attend_s8_s8_256_folded");
  EXPECT_EQ(kernels_of(scenario_of("sage2_4b", 20, 160), 80), "attend_s8_float8_256_score_mod");
  EXPECT_EQ(kernels_of(scenario_of("int4", 15, 64), 80), "attend_s8_s8_64_score_mod");  // 16-bit Q
  EXPECT_EQ(kernels_of(scenario_of("int8_fast", 20, 64), 80), "attend_s8_s8_64_folded");
  const Scenario int4 = scenario_of("int4", 20, 64);
  EXPECT_EQ(kernels_of(int4, 80, "int4,p=u16,p_range=32767"), "attend_s8_s8_64_p16");
  EXPECT_EQ(kernels_of(int4, 80, "int4,keep_first=1,keep_near=2"), "attend_s8_s8_64_kept");
  EXPECT_EQ(kernels_of(int4, 80, "int_flash_int4"), "attend_s8_s8_64");
  EXPECT_EQ(kernels_of(int4, 80, "sage1,scores=s4"), "attend_s8_f16_64");
  Scenario varlen = int4;
  varlen.q_lens = {20, 3}, varlen.k_lens = {30, 9};
  EXPECT_EQ(kernels_of(varlen, 80), "attend_s8_s8_64_score_mod attend_s8_s8_64_folded");
}

// Every option, every length, operands given as codes.
TEST(CudaS4, HasTheBitsOfS8) {
  struct Pair {
    const char* recipe;
    int s4, s8;  // compute capabilities
  };
  constexpr Pair kPairs[] = {{"int4", 80, 90},
                             {"int4,smooth_q=off", 80, 90},
                             {"sage2_4b", 80, 90},
                             {"sage2_4b", 89, 120},
                             {"sage2pp,scores=s4", 80, 90},
                             {"sage2pp,scores=s4", 89, 120},
                             {"sage2_4b,keep_first=1,keep_near=2", 89, 120},
                             {"int4,keep_first=1,keep_near=2,keep_heavy=16", 80, 90},
                             {"int_flash_int4", 80, 90},
                             {"int_flash_int4,keep_first=1,keep_near=2", 80, 90}};
  for (const Pair& pair : kPairs) {
    Dealer dealer(29);
    int served = 0;
    for (int turn = 0; served < 4 && turn < 400; ++turn) {
      Scenario scenario = dealer.draw(pair.recipe);
      if (scenario.multiplications() > 1e6 || std::max(scenario.d, scenario.dv) > 128) continue;
      SCOPED_TRACE(describe(scenario));
      const Call call(scenario);
      Outcome outcomes[2];
      bool own[2];
      for (const int which : {0, 1}) {
        EmulatedRuntime runtime;
        runtime.pretend(which == 0 ? pair.s4 : pair.s8);
        outcomes[which] = run_on_device(call);
        own[which] = std::any_of(runtime.launched.begin(), runtime.launched.end(),
                                 [](const std::string& name) { return name.find("attend_s4_") == 0; });
      }
      if (outcomes[0].status.code() == StatusCode::kUnimplemented) continue;
      ASSERT_TRUE(outcomes[0].status.ok()) << outcomes[0].status.message();
      ASSERT_TRUE(outcomes[1].status.ok()) << outcomes[1].status.message();
      EXPECT_FALSE(own[1]);
      if (!own[0]) continue;  // 16-bit Q, or a kernel that s4 lacks
      ++served;
      const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
        return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
      };
      EXPECT_TRUE(same(outcomes[0].out, outcomes[1].out));
      EXPECT_TRUE(same(outcomes[0].lse, outcomes[1].lse));
    }
    EXPECT_EQ(served, 4) << pair.recipe;
  }
}

}  // namespace
}  // namespace octavo::test
