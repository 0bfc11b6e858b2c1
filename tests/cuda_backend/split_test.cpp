// Few rows against many keys: tasks share the keys of a block of query rows, and their parts are merged. Against the
// oracle, for every kind of kernel and option; and when calls are split at all.
#include "cuda/host/split.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "card.hpp"
#include "compare.hpp"
#include "device_twin.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

using cuda::parts_of_keys;
using cuda::tiles_of_split;

TEST(CudaSplit, CostsOfACall) {
  // 8 heads of 128 rows, 16384 keys: 16 parts fill the GPU. 8 tiles each, and the merge.
  EXPECT_EQ(tiles_of_split(8, 128, 128, 132, 1), 128);
  EXPECT_EQ(tiles_of_split(8, 128, 128, 132, 16), 8 + 8 + 4);
  EXPECT_EQ(parts_of_keys(8, 128, 128, 132), 16);
  // 17 parts of 8 tasks are more than one round.
  EXPECT_EQ(tiles_of_split(8, 128, 128, 132, 17), 2 * (8 + 8) + 4);
}

TEST(CudaSplit, OnlyWhereItIsCheaper) {
  EXPECT_EQ(parts_of_keys(132, 1024, 128, 132), 1) << "every multiprocessor has a task";
  EXPECT_EQ(parts_of_keys(64, 8, 128, 132), 1) << "8 heads of 1024 rows and keys: the merge costs more";
  EXPECT_EQ(parts_of_keys(64, 64, 128, 132), 2);
  EXPECT_EQ(parts_of_keys(1, 4096, 64, 132), 32);
  EXPECT_EQ(parts_of_keys(1, 0, 64, 132), 1);
  EXPECT_EQ(parts_of_keys(0, 16, 64, 132), 1);
  for (std::int64_t tasks = 1; tasks < 140; tasks += 7) {
    for (std::int64_t blocks = 1; blocks < 300; blocks += 13) {
      const std::int64_t parts = parts_of_keys(tasks, blocks, 128, 132);
      EXPECT_LE(parts, std::max<std::int64_t>(blocks, 1));
      EXPECT_LE(tiles_of_split(tasks, blocks, 128, 132, parts), tiles_of_split(tasks, blocks, 128, 132, 1));
    }
  }
}

struct SplitCall {
  const char* what;
  Scenario scenario;
};

// 20 blocks of keys and more, which one to four tasks share out.
std::vector<SplitCall> split_calls() {
  Scenario few;
  few.m = 5, few.n = 2570, few.d = few.dv = 64, few.dtype = DType::f16;
  std::vector<SplitCall> calls{{"few rows", few}};
  const auto add = [&](const char* what, auto&& change) {
    Scenario scenario = few;
    change(scenario);
    calls.push_back({what, scenario});
  };
  add("causal rows of two blocks", [](Scenario& s) { s.m = 140, s.causal = Causal::bottom_right; });
  add("a window that leaves parts empty",
      [](Scenario& s) { s.m = 20, s.causal = Causal::bottom_right, s.window_left = 900; });
  add("sinks, softcap, a mask",
      [](Scenario& s) { s.m = 20, s.sinks = true, s.softcap = 20, s.mask = MaskKind::f32_full; });
  add("sinks alone", [](Scenario& s) { s.m = 20, s.sinks = true, s.ratio = 2; });
  add("lengths", [](Scenario& s) { s.m = 20, s.batch = 3, s.kv_lens = {2570, 130, 0}; });
  add("packed sequences", [](Scenario& s) { s.m = 1, s.q_lens = {3, 20, 1}, s.k_lens = {100, 2500, 0}; });
  add("more channels, bf16", [](Scenario& s) { s.m = 20, s.n = 4000, s.d = 80, s.dv = 100, s.dtype = DType::bf16; });
  add("hidden keys", [](Scenario& s) { s.m = 20, s.key_mask = true; });
  return calls;
}

void expect_the_oracles(const char* recipe, Card& card) {
  for (SplitCall call : split_calls()) {
    SCOPED_TRACE(std::string(recipe) + ", " + call.what);
    call.scenario.recipe = recipe;
    const Call of(call.scenario);
    RunOptions on_device, dense, without;
    on_device.attention = &attention_on_device;
    dense.dense = without.dense = true;
    without.recipe = "exact";
#if !defined(OCTAVO_ON_A_CARD)
    card.launched.clear();
#endif
    const Outcome got = of.run("", on_device), expected = of.run("reference", dense);
    ASSERT_TRUE(got.status.ok()) << got.status.message();
#if !defined(OCTAVO_ON_A_CARD)
    EXPECT_EQ(std::count(card.launched.begin(), card.launched.end(), "merge_parts"), 1);
#endif
    Difference difference;
    difference.add(got.out, expected.out);
    EXPECT_EQ(difference.wrong, "");
    const double own_error = relative_l2(expected.out, of.run("reference", without).out);
    const double of_dtype = call.scenario.dtype == DType::bf16 ? kExactBf16Gate : 5e-4;
    const bool exact = std::string(recipe) == "exact";
    EXPECT_LE(difference.relative(),
              exact ? of_dtype : std::max(of_dtype, output_bound(recipe_of(recipe), own_error, difference.elements)));
    EXPECT_EQ(check_lse(recipe_of(recipe), got.lse, expected.lse), "");
    EXPECT_FALSE(got.wrote_beside);
    EXPECT_EQ(card.held(), 0);
  }
}

class CudaSplitTest : public ::testing::TestWithParam<const char*> {};
TEST_P(CudaSplitTest, IsTheOracles) {
  Card card;
  expect_the_oracles(GetParam(), card);
}
TEST_P(CudaSplitTest, IsTheOraclesOnHopper) {
  Card card;
  if (has_wgmma(card)) expect_the_oracles(GetParam(), card);
}
constexpr const char* kSplitRecipes[] = {"int8", "int8_fast", "int8_block", "sage1", "exact"};
std::string name_of(const ::testing::TestParamInfo<const char*>& test) { return test.param; }
INSTANTIATE_TEST_SUITE_P(Recipes, CudaSplitTest, ::testing::ValuesIn(kSplitRecipes), name_of);

#if !defined(OCTAVO_ON_A_CARD)
// Their weights' codes are relative to the maximum of all keys before.
TEST(CudaSplit, NotWhereCodesFollowTheRunningMaximum) {
  for (const char* recipe : {"int_flash", "sage2_8b", "int8_fast,p_reference=running"}) {
    Card card;
    Scenario scenario = split_calls()[0].scenario;
    scenario.recipe = recipe;
    RunOptions options;
    options.attention = &attention_on_device;
    ASSERT_TRUE(Call(scenario).run("", options).status.ok());
    EXPECT_EQ(std::count(card.launched.begin(), card.launched.end(), "merge_parts"), 0) << recipe;
  }
}
#endif

// A value of NaN in one part reaches the rows that see it, and no others.
TEST(CudaSplit, KeepsNaNs) {
  Card card;
  Scenario scenario;
  scenario.recipe = "exact";
  scenario.m = 20, scenario.n = 2570, scenario.d = scenario.dv = 64, scenario.dtype = DType::f16;
  scenario.causal = Causal::bottom_right;
  Call call(scenario);
  call.k_values[64 * 2560] = std::numeric_limits<float>::quiet_NaN();  // seen by rows from 10 on
  call.place();
  RunOptions options;
  options.attention = &attention_on_device;
  const Outcome got = call.run("", options);
  ASSERT_TRUE(got.status.ok()) << got.status.message();
  for (std::size_t row = 0; row < 20; ++row) {
    EXPECT_EQ(std::isnan(got.out[row * 64]), row >= 10) << row;
    EXPECT_EQ(std::isnan(got.lse[row]), row >= 10) << row;
  }
}

}  // namespace
}  // namespace octavo::test
