// Kept keys, gains and V's centre in the reference: what they must leave as it is, and what they must repair.
#include <gtest/gtest.h>

#include <cmath>

#include "cases.hpp"
#include "spec/operand.hpp"

namespace octavo::reference {
namespace {

constexpr const char* kRevised = "int8";

double error_of(Case& c, const std::string& recipe) {
  const std::vector<double> exact = as_double(c.run("exact"));
  return relative_l2(c.run(recipe), exact);
}

TEST(KeptKeys, AllKeysKeptIsExact) {
  for (Causal causal : {Causal::none, Causal::bottom_right}) {
    Case c(16, 16, 32, 24, 7);
    c.problem.causal = causal;
    EXPECT_LE(error_of(c, "int4,keep_near=1"), 1e-6);
  }
  Case longest(128, 128, 32, 24, 7), longer(129, 128, 32, 24, 7);
  EXPECT_LE(error_of(longest, "int4,keep_near=1"), 1e-6);
  EXPECT_GE(error_of(longer, "int4,keep_near=1"), 1e-3);
}

TEST(KeptKeys, SinkAndLseOfTheParts) {
  Case c(40, 60, 32, 24, 3, 1, 2, 1);
  const float sinks[] = {1.0f, -2.0f};
  c.problem.sinks.data = sinks;
  c.problem.sinks.strides = {0, 1, 0, 0};
  c.problem.causal = Causal::bottom_right;
  c.run("exact");
  const std::vector<double> exact = as_double(c.out), lse = as_double(c.lse);
  c.run(kRevised);
  EXPECT_LE(relative_l2(c.out, exact), 0.01);
  for (std::size_t i = 0; i < lse.size(); ++i) EXPECT_NEAR(c.lse[i], lse[i], 0.02);
}

TEST(KeptKeys, HeavyKeyInAFarBlockIsFound) {
  // One key that all rows look at, far from the diagonal, with values of its own.
  Case c(128, 600, 64, 64, 5);
  for (std::int64_t d = 0; d < 64; ++d) c.k_row(77)[d] = 1.5f;
  for (std::int64_t row = 0; row < 128; ++row) {
    for (std::int64_t d = 0; d < 64; ++d) c.q_row(row)[d] += 1.0f;
  }
  EXPECT_LE(error_of(c, kRevised), 0.5 * error_of(c, "int8_fast"));
}

// K's bias under RoPE: one mean of the sequence cannot follow it, means of blocks do; an even bias needs none.
TEST(BlockMeans, FollowATurningBias) {
  for (const Causal causal : {Causal::none, Causal::bottom_right}) {
    Case c(512, 1024, 64, 64, 11);
    c.problem.causal = causal;
    for (std::int64_t row = 0; row < c.n; ++row) {
      for (std::int64_t pair = 0; pair < 3; ++pair) {
        const double turn = static_cast<double>(row) * (0.004 / static_cast<double>(1 + pair));
        c.k_row(row)[2 * pair] += static_cast<float>(400 * std::cos(turn));
        c.k_row(row)[2 * pair + 1] += static_cast<float>(400 * std::sin(turn));
      }
    }
    const double followed = error_of(c, kRevised);
    EXPECT_LE(followed, 0.03);
    EXPECT_GE(error_of(c, "int8,key_block=256"), 2 * followed);  // of more than 128 keys: one mean
    const std::vector<double> exact = (c.run("exact"), as_double(c.lse));
    c.run(kRevised);
    // Errors of scores of up to 240 nats; a term of a block's mean that was forgotten would be tens of nats.
    for (std::size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(c.lse[i], exact[i], 0.15);
    c.problem.softcap = 300;
    EXPECT_LE(error_of(c, kRevised), 0.03);
  }
}

TEST(QkGains, BalanceAStrongChannel) {
  for (std::int64_t dim : {65, 96, 129}) {
    Case c(300, 300, dim, 64, 9);
    for (std::int64_t row = 0; row < 300; ++row) {
      c.k_row(row)[dim - 1] *= 30;
      c.q_row(row)[dim - 1] /= 3;
    }
    EXPECT_LE(error_of(c, kRevised), 0.04) << dim;
  }
}

TEST(ValueCentre, ConstantValuesStayConstant) {
  for (std::int64_t n : {1, 100, 300}) {
    Case c(100, n, 128, 128, 4);
    std::fill(c.v.begin(), c.v.end(), 1.0f);
    c.run(kRevised);
    for (float x : c.out) EXPECT_NEAR(x, 1.0f, 1e-5f);
  }
}

TEST(ValueCentre, CoherentTailIsNotLost) {
  constexpr std::int64_t kRows = 160;  // more than 128: some keys are quantized
  Case c(kRows, kRows, 64, 64, 6);
  std::fill(c.q.begin(), c.q.end(), 0.0f);
  std::fill(c.k.begin(), c.k.end(), 0.0f);
  for (std::int64_t row = 0; row < kRows; ++row) c.q_row(row)[0] = 1;
  c.k_row(0)[0] = 6.3f * 8;
  for (std::int64_t row = 1; row < kRows; ++row) {
    for (std::int64_t d = 0; d < 64; ++d) c.v_row(row)[d] = -c.v_row(0)[d];
  }
  EXPECT_GE(error_of(c, "int8_fast"), 0.2);
  EXPECT_LE(error_of(c, kRevised), 0.03);
}

TEST(KeptKeys, CodesAreThoseOfTheRecipeWithoutThem) {
  // Operands as codes have no originals: nothing is kept. Here through the recipe that the front door passes on.
  const Recipe revised = *parse_recipe(kRevised);
  EXPECT_EQ(spec::recipe_of_codes(revised), *parse_recipe("int8_fast"));
}

}  // namespace
}  // namespace octavo::reference
