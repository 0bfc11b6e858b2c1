// Invariances of the kernels: order of keys, constants added to K, scaling of V, weights with more levels.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "compare.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

Scenario scenario(const std::string& recipe, std::int64_t m = 40, std::int64_t n = 384, std::int64_t d = 64,
                  std::int64_t dv = 48) {
  Scenario s;
  s.recipe = recipe;
  s.kv_heads = 2;
  s.ratio = 2;
  s.m = m;
  s.n = n;
  s.d = d;
  s.dv = dv;
  return s;
}

// Both calls on every implementation.
template <class Body>
void for_each_pair(const Call& a, const Call& b, const Body& body) {
  int served = 0;
  for (const std::string& implementation : supported_implementations()) {
    SCOPED_TRACE(implementation + " " + describe(a.scenario()));
    const Outcome first = a.run(implementation), second = b.run(implementation);
    ASSERT_TRUE(first.status.ok()) << first.status.message();
    ASSERT_TRUE(second.status.ok()) << second.status.message();
    body(first, second);
    ++served;
  }
  EXPECT_GT(served, 0) << a.scenario().recipe;
}

// Permuted rows of [heads][rows][dim].
std::vector<float> reordered(const std::vector<float>& values, const std::vector<std::int64_t>& order,
                             std::int64_t dim) {
  std::vector<float> result;
  const auto rows = static_cast<std::int64_t>(order.size());
  for (std::int64_t h = 0; h < static_cast<std::int64_t>(values.size()) / (rows * dim); ++h)
    for (std::int64_t row : order)
      result.insert(result.end(), values.begin() + (h * rows + row) * dim, values.begin() + (h * rows + row + 1) * dim);
  return result;
}

void expect_order_free(const std::string& recipe, bool across_blocks, double bound) {
  const Scenario s = scenario(recipe);
  const Call call(s);
  std::vector<std::int64_t> order(static_cast<std::size_t>(s.n));
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(3);
  const std::ptrdiff_t block = across_blocks ? s.n : 128;
  for (auto first = order.begin(); first != order.end(); first += block) std::shuffle(first, first + block, random);
  Call permuted(s);
  permuted.k_values = reordered(call.k_values, order, s.d);
  permuted.v_values = reordered(call.v_values, order, s.dv);
  permuted.place();
  for_each_pair(call, permuted, [&](const Outcome& a, const Outcome& b) {
    EXPECT_LE(relative_l2(b.out, a.out), bound);
    EXPECT_EQ(check_lse(recipe_of(recipe), b.lse, a.lse), "");
  });
}

TEST(Symmetries, KeysOfABlockMayBePermuted) {
  // smooth_k=off: the sum of the mean depends on the order, and so do single codes.
  for (const char* recipe :
       {"exact", "int8_fast,smooth_k=off", "int8_p16,smooth_k=off", "int4,smooth_k=off", "int_flash", "int_flash_int4"})
    expect_order_free(recipe, false, 2e-6);
  // f16 rounding is relative to a reference that depends on the order of the maxima.
  expect_order_free("int_flash_half", false, 1e-3);
  expect_order_free("int8_fast", false, 1e-3);
}

TEST(Symmetries, AllKeysMayBePermutedWhereWeightsAreNotCodes) { expect_order_free("exact", true, 2e-6); }

TEST(Symmetries, AConstantAddedToAllKeysMovesTheLseOnly) {
  for (const auto& [recipe, bound] : {std::pair{"exact", 1e-4},
                                      {"int8", 1e-3},
                                      {"int4", 2e-3},
                                      {"int8_block", 1e-3},
                                      {"int8_p16", 1e-3},
                                      {"sage1", 2e-3},
                                      {"sage2_8b", 2e-3}}) {
    const Scenario s = scenario(recipe);
    const Call call(s);
    Call shifted(s);
    const auto constant = [](std::int64_t c) { return c % 2 == 0 ? 8.0f : -3.0f; };
    for (std::size_t i = 0; i < shifted.k_values.size(); ++i)
      shifted.k_values[i] += constant(static_cast<std::int64_t>(i) % s.d);
    shifted.place();
    for_each_pair(call, shifted, [&, limit = bound](const Outcome& a, const Outcome& b) {
      EXPECT_LE(relative_l2(b.out, a.out), limit);
      for (std::size_t row = 0; row < a.lse.size(); ++row) {
        double moved = 0;
        for (std::int64_t c = 0; c < s.d; ++c)
          moved += call.q_values[row * static_cast<std::size_t>(s.d) + static_cast<std::size_t>(c)] * constant(c);
        EXPECT_NEAR(b.lse[row] - a.lse[row], moved / std::sqrt(static_cast<double>(s.d)), 2e-3) << "row " << row;
      }
    });
  }
}

TEST(Symmetries, ScalingVByAPowerOfTwoScalesO) {
  for (const RecipeInfo& info : recipes()) {
    if (info.name == "fp8_e5m2") continue;  // no scale: small codes lose precision
    const Scenario s = scenario(std::string(info.name), 40, 200);
    const Call call(s);
    for (const float factor : {0.125f, 1024.0f}) {
      Call scaled(s);
      for (float& x : scaled.v_values) x *= factor;
      scaled.place();
      for_each_pair(call, scaled, [&](const Outcome& a, const Outcome& b) {
        for (std::size_t i = 0; i < a.out.size(); ++i) ASSERT_EQ(b.out[i], a.out[i] * factor) << "element " << i;
        EXPECT_EQ(a.lse, b.lse);
      });
    }
  }
}

TEST(Symmetries, ConstantVComesBack) {
  for (const auto& [recipe, bound] : {std::pair{"exact", 2e-6},
                                      {"int_flash", 2e-6},
                                      {"int_flash_int4", 2e-6},
                                      {"int8", 5e-3},
                                      {"int4", 5e-3},
                                      {"int_flash_half", 1e-3}}) {
    Call call(scenario(recipe, 20, 500, 32, 16));
    std::fill(call.v_values.begin(), call.v_values.end(), 0.7f);
    call.place();
    for_each_pair(call, call, [&, limit = bound](const Outcome& a, const Outcome&) {
      EXPECT_LE(relative_l2(a.out, std::vector<float>(a.out.size(), 0.7f)), limit);
    });
  }
}

// With float scores and a V that its codes represent exactly, the only error is that of P: it falls as 1 / R.
TEST(Symmetries, MoreLevelsOfPApproachExact) {
  const std::string recipe = "exact,p=u8,p_reference=block,values=s8,v_scale=token_folded,p_range=";
  Call call(scenario(recipe + "255", 64, 512));
  const std::int64_t dv = call.scenario().dv;
  std::mt19937 random(4);
  for (std::size_t i = 0; i < call.v_values.size(); ++i)
    call.v_values[i] =
        i % static_cast<std::size_t>(dv) == 0 ? 127.0f : static_cast<float>(static_cast<int>(random() % 255) - 127);
  call.place();
  for (const std::string& implementation : supported_implementations()) {
    const Outcome exact = call.run(implementation, {.recipe = "exact"});
    double last = 1;
    for (const int range : {15, 31, 63, 127, 255}) {
      const Outcome got = call.run(implementation, {.recipe = recipe + std::to_string(range)});
      ASSERT_TRUE(got.status.ok()) << got.status.message();
      const double error = relative_l2(got.out, exact.out);
      EXPECT_LT(error, 0.65 * last) << implementation << " R " << range;
      EXPECT_GT(error, 0.1 / range) << implementation << " R " << range;
      EXPECT_LT(error, 2.0 / range) << implementation << " R " << range;
      last = error;
    }
  }
}

}  // namespace
}  // namespace octavo::test
