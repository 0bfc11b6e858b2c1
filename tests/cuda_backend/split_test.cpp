// Few rows: tasks share the keys of a block of query rows, and their parts are merged; query heads of a KV head share
// tiles of rows. Against the oracle, for every kind of kernel and option; and which calls do so at all.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "card.hpp"
#include "compare.hpp"
#include "core/text.hpp"
#include "cuda/host/head_tiles.hpp"
#include "device_twin.hpp"
#include "scenario.hpp"
#include "spec/q16.hpp"

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

// Heads take powers of two of a tile's warps.
TEST(CudaHeadTiles, OfRowsAndHeads) {
  const auto expect = [](std::int64_t rows, std::int64_t group, std::int64_t tile, std::int32_t warps_log2,
                         std::int32_t heads, std::int32_t of_kv_head) {
    const cuda::SharedTiles tiles = cuda::tiles_of_heads(rows, group, tile, 16);
    EXPECT_EQ(tiles.warps_log2, warps_log2) << rows << " rows, " << group << " heads";
    EXPECT_EQ(tiles.heads, heads) << rows << " rows, " << group << " heads";
    EXPECT_EQ(tiles.of_kv_head, of_kv_head) << rows << " rows, " << group << " heads";
  };
  const cuda::SharedTiles none;
  expect(1, 8, 128, 0, 8, 1);
  expect(16, 4, 128, 1, 4, 1);
  expect(17, 8, 128, 1, 4, 2);
  expect(33, 5, 128, 2, 2, 3);
  expect(64, 2, 128, 2, 2, 1);
  expect(1, 12, 128, 0, 8, 2);
  expect(10, 4, 64, 0, 4, 1);
  expect(65, 8, 128, none.warps_log2, none.heads, none.of_kv_head);
  expect(20, 1, 128, none.warps_log2, none.heads, none.of_kv_head);
  expect(20, 4, 32, none.warps_log2, none.heads, none.of_kv_head);
}

TEST(CudaHeadTiles, OnlyWhereItIsCheaper) {
  cuda::TaskCount count;
  count.batches = 4, count.q_heads = 32, count.kv_heads = 8;
  count.rows = 32, count.key_blocks = 8, count.multiprocessors = 132;
  EXPECT_EQ(count.cost({}), 8) << "128 tasks, one round";
  EXPECT_EQ(count.tiles().heads, 1) << "nothing to gain";
  count.batches = 16;
  EXPECT_EQ(count.tiles().heads, 4);
  EXPECT_EQ(count.cost({}), 4 * 8);
  EXPECT_EQ(count.cost(count.tiles()), 8);
  // Fewer tasks have more parts of the keys.
  count.batches = 1, count.key_blocks = 256;
  EXPECT_EQ(count.parts({}), 4);
  EXPECT_EQ(count.parts(count.tiles()), 16);
  EXPECT_EQ(count.cost({}), 64 + 8 + 4);
  EXPECT_EQ(count.cost(count.tiles()), 16 + 8 + 4);
  count.may_share = false;
  EXPECT_EQ(count.tiles().heads, 1);
}

// 16 rows in tiles of 64 are one task of a head, not two: 24 tasks for 108 multiprocessors, of four parts each.
TEST(CudaHeadTiles, TilesWithoutRowsAreNoTasks) {
  cuda::TaskCount count;
  count.q_heads = count.kv_heads = 24;
  count.rows = 16, count.key_blocks = 256;
  count.dim = 256, count.tile_rows = 64, count.multiprocessors = 108;
  EXPECT_EQ(count.tasks({}), 24);
  EXPECT_EQ(count.parts({}), 4);
  count.rows = 65;
  EXPECT_EQ(count.tasks({}), 48);
  count.rows = 200, count.blocks = 2;
  EXPECT_EQ(count.tasks({}), 96);
  count.varlen = true;  // sequences of any lengths
  EXPECT_EQ(count.tasks({}), 96);
  count.blocks = 3;
  EXPECT_EQ(count.tasks({}), 144);
}

#if !defined(OCTAVO_ON_A_CARD)
struct SharedCall {
  const char* recipe;
  std::int64_t dim = 64;
  double softcap = 0;
};
constexpr SharedCall kSharedCalls[] = {{"int8"},      {"int8_fast"},    {"int_flash"},
                                       {"sage2_8b"},  {"exact"},        {"int_flash,keep_first=1,keep_near=2"},
                                       {"int8", 256}, {"int8", 256, 30}};
// The same bits whether heads share tiles, as they do on a GPU of five multiprocessors, or not. Kernels by mma.sync
// have no room for smooth_q's bias of several heads.
TEST(CudaHeadTiles, ResultsHaveTheSameBits) {
  for (const bool hopper : {false, true}) {
    for (const auto& [recipe, dim, softcap] : kSharedCalls) {
      for (const std::int64_t m : {1, 20, 40}) {
        SCOPED_TRACE(text(recipe, ", channels ", dim, ", softcap ", softcap, ", rows ", m, hopper ? ", Hopper" : ""));
        Scenario scenario;
        scenario.recipe = recipe, scenario.dtype = DType::f16;
        scenario.batch = 2, scenario.kv_heads = 2, scenario.ratio = 4;
        scenario.m = m, scenario.n = 200, scenario.d = scenario.dv = dim;
        scenario.causal = Causal::bottom_right, scenario.softcap = softcap;
        const Call call(scenario);
        RunOptions options;
        options.attention = &attention_on_device;
        Outcome of[2];
        for (const bool shares : {false, true}) {
          Card card;
          card.gpus.at(0).wgmma_kernels = hopper;
          card.share_multiprocessors(shares ? 5 : 400);
          of[shares] = call.run("", options);
          ASSERT_TRUE(of[shares].status.ok()) << of[shares].status.message();
          const auto attends = [](const std::string& kernel) { return kernel.starts_with("attend"); };
          const auto at = std::find_if(card.launched.begin(), card.launched.end(), attends) - card.launched.begin();
          const bool may = hopper || !recipe_of(recipe).smooth_q || spec::is_q16(recipe_of(recipe), m);
          const std::int64_t tiles = !shares || !may ? 16 : m > 32 ? 8 : 4;  // of 16 heads
          EXPECT_EQ(card.blocks.at(static_cast<std::size_t>(at)),
                    hopper && shares ? std::min<std::int64_t>(tiles, 5) : tiles);
        }
        EXPECT_EQ(of[0].out, of[1].out);
        EXPECT_EQ(of[0].lse, of[1].lse);
      }
    }
  }
}
#endif

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

void expect_the_oracles(const char* recipe, Card& card, const std::vector<SplitCall>& calls = split_calls()) {
  for (SplitCall call : calls) {
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

// Two tiles of eight heads, whose keys eight tasks share on a GPU of 16 multiprocessors; with a tile for each head
// every multiprocessor would have one.
TEST(CudaSplit, OfTilesThatHeadsShare) {
  Scenario scenario;
  scenario.kv_heads = 2, scenario.ratio = 8, scenario.m = 15, scenario.n = 2570;
  scenario.d = scenario.dv = 64, scenario.dtype = DType::f16, scenario.causal = Causal::bottom_right;
  for (const char* recipe : {"exact", "int8_fast", "int8"}) {
    Card card;
    card.share_multiprocessors(16);
    expect_the_oracles(recipe, card, {{"mma.sync", scenario}});
    Scenario longer = scenario;
    longer.m = 16;
    if (has_wgmma(card)) expect_the_oracles(recipe, card, {{"wgmma", longer}});
  }
}

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
