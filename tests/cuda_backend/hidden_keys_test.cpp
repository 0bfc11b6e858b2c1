// Keys that do not exist, and stray rows, on a device: junk in what no row may see reaches nothing, rows of other
// magnitudes leave the statistics, and rows of NaN that see no existing key are empty. Each beside the oracle.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "card.hpp"
#include "compare.hpp"
#include "device_twin.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const char* const kRecipes[] = {"int8_fast", "int8_fast,smooth_v=on,qk_gains=on", "int8_block,smooth_v=on,qk_gains=on",
                                "sage1,robust=on", "int8"};

Scenario scenario_of(const char* recipe) {
  Scenario s;
  s.recipe = recipe;
  s.batch = 2;
  s.kv_heads = 2;
  s.ratio = 2;
  s.m = 150;
  s.n = 270;
  s.d = 40;
  s.dv = 36;
  return s;
}

Outcome expect_the_oracles(const Call& call) {
  RunOptions on_device;
  on_device.attention = &attention_on_device;
  const Outcome got = call.run("", on_device), expected = call.run("reference", {.dense = true});
  EXPECT_TRUE(got.status.ok()) << got.status.message();
  EXPECT_TRUE(expected.status.ok()) << expected.status.message();
  const Recipe recipe = recipe_of(call.scenario().recipe);
  Difference difference;
  difference.add(got.out, expected.out);
  EXPECT_EQ(difference.wrong, "");
  EXPECT_LE(difference.relative(), output_bound(recipe, 0.02, difference.elements));
  EXPECT_EQ(check_lse(recipe, got.lse, expected.lse), "");
  return got;
}

// f(row of the tensor, its values) for the rows of K and V, or of Q.
template <class F>
void for_rows(std::vector<float>& values, std::int64_t rows, std::int64_t dim, const F& f) {
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(values.size()) / dim; ++i)
    f(i % rows, values.data() + i * dim);
}
void fill_row(float* row, std::int64_t dim, float x) {
  for (std::int64_t c = 0; c < dim; ++c) row[c] = x;
}
void scale_row(float* row, std::int64_t dim, float by) {
  for (std::int64_t c = 0; c < dim; ++c) row[c] *= by;
}

TEST(CudaHiddenKeys, JunkInThemReachesNothing) {
  const Card card;
  for (const char* recipe : kRecipes) {
    Scenario s = scenario_of(recipe);
    s.causal = Causal::top_left;  // keys from 150 on are behind the last row's diagonal
    s.sinks = s.alibi = true;
    SCOPED_TRACE(describe(s));
    const Call clean(s);
    const Outcome expected = expect_the_oracles(clean);
    for (const float junk : {kNan, 3e38f, 1e4f, -std::numeric_limits<float>::infinity()}) {
      Call call(s);
      for_rows(call.k_values, s.n, s.d, [&](std::int64_t key, float* row) {
        if (key >= s.m) fill_row(row, s.d, junk);
      });
      for_rows(call.v_values, s.n, s.dv, [&](std::int64_t key, float* row) {
        if (key >= s.m) fill_row(row, s.dv, junk);
      });
      call.place();
      const Outcome got = expect_the_oracles(call);
      EXPECT_EQ(got.out, expected.out) << junk;
      EXPECT_EQ(got.lse, expected.lse) << junk;
    }
  }
}

TEST(CudaHiddenKeys, StrayRowsLeaveTheStatistics) {
  const Card card;
  for (const char* recipe : kRecipes) {
    for (const bool causal : {false, true}) {
      Scenario s = scenario_of(recipe);
      if (causal) s.causal = Causal::bottom_right;
      SCOPED_TRACE(describe(s));
      Call call(s);
      for_rows(call.q_values, s.m, s.d, [&](std::int64_t row, float* x) {
        if (row % 50 == 3) scale_row(x, s.d, 200.0f);
        if (row % 50 == 4) fill_row(x, s.d, 0.0f);
      });
      for_rows(call.k_values, s.n, s.d, [&](std::int64_t row, float* x) {
        if (row == 7 || row == 200) scale_row(x, s.d, row == 7 ? 40.0f : 17.0f);
      });
      for_rows(call.v_values, s.n, s.dv, [&](std::int64_t row, float* x) {
        if (row == 90) scale_row(x, s.dv, 1e4f);
        if (row == 91) fill_row(x, s.dv, 0.0f);
      });
      call.place();
      expect_the_oracles(call);
    }
  }
}

TEST(CudaHiddenKeys, RowsOfNanThatSeeNoExistingKeyAreEmpty) {
  const Card card;
  for (const char* recipe : {"int8_fast", "int8_fast,robust=off", "int8"}) {
    for (const bool softcap : {false, true}) {
      Scenario s = scenario_of(recipe);
      s.causal = Causal::top_left;
      s.key_mask = true;
      s.softcap = softcap ? 5 : 0;
      SCOPED_TRACE(describe(s));
      Call call(s);
      for_rows(call.q_values, s.m, s.d, [&](std::int64_t row, float* x) {
        if (row < 4 || row == 100) x[row % s.d] = kNan;
      });
      call.place();
      const Outcome got = expect_the_oracles(call);
      EXPECT_TRUE(std::isnan(got.out[static_cast<std::size_t>(100 * s.dv)]));
    }
  }
}

}  // namespace
}  // namespace octavo::test
