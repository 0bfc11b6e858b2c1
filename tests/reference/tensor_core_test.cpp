// Attention with a tensor core's accumulator: sums small enough to be followed by hand, what the second level repairs
// on long rows, and the calls that no tensor core could serve.
#include <gtest/gtest.h>

#include "cases.hpp"
#include "core/float_types.hpp"

namespace octavo::reference {
namespace {

// All weights are 1, all codes of V too: the accumulator counts keys, and with 13 bits it counts to 2^14.
TEST(TensorCore, OneLevelStandsStill) {
  constexpr std::int64_t kKeys = 20480;
  Case c(1, kKeys, 1);
  c.q = {0};
  std::fill(c.v.begin(), c.v.end(), 1.0f);
  for (const auto& [recipe, counted] : {std::pair{"fp8_e5m2,accumulator=sm89,two_level=off", 16384.0},
                                        {"fp8_e5m2,accumulator=sm90,two_level=off", 16384.0},
                                        {"fp8_e5m2,accumulator=sm100,two_level=off", double{kKeys}},
                                        {"fp8_e5m2,accumulator=sm89", double{kKeys}},
                                        {"fp8_e5m2,accumulator=sm90", double{kKeys}},
                                        {"int_flash_half,accumulator=sm80,two_level=off", double{kKeys}}}) {
    c.run(recipe);
    EXPECT_NEAR(c.out[0], counted / kKeys, 1e-6) << recipe;
    EXPECT_NEAR(c.lse[0], std::log(kKeys), 1e-6) << recipe;  // the row sum is f32's business
  }
}

// One key: its LSE is the score.
TEST(TensorCore, ScoresLoseWhatLiesBelowTheLargestProduct) {
  Case c(1, 1, 32);
  c.scale_is_set = true;
  c.problem.softmax_scale = 1;
  c.q.assign(32, 0.5f);
  c.k.assign(32, 0.5f);
  c.q[0] = c.k[0] = 64;
  // 4096 + 31 / 4; at 13 fractional bits of 2^12 a quarter is nothing, and sm89's second half has its own sum.
  for (const auto& [recipe, score] :
       {std::pair{"fp8_e5m2", 4103.75},
        {"fp8_e5m2,accumulator=sm100", 4103.75},
        {"fp8_e5m2,accumulator=sm90", 4096.0},
        {"fp8_e5m2,accumulator=sm89", 4096.0},
        {"int_flash_half,scores=f16,q_scale=none,k_scale=none,accumulator=sm80", 4103.75}}) {
    c.run(recipe);
    EXPECT_NEAR(c.lse[0], score, 1e-3) << recipe;
  }
  // A first half without the large product keeps its quarters: 4 of them.
  std::swap(c.q[0], c.q[31]);
  std::swap(c.k[0], c.k[31]);
  c.run("fp8_e5m2,accumulator=sm89");
  EXPECT_NEAR(c.lse[0], 4096 + 16 * 0.25, 1e-3);
  c.run("fp8_e5m2,accumulator=sm90");
  EXPECT_NEAR(c.lse[0], 4096, 1e-3);
}

double error(Case& c, const char* recipe, const std::vector<double>& truth) {
  return relative_l2(c.run(recipe), truth);
}

TEST(TensorCore, TheSecondLevelOnLongRows) {
  Case c(16, 4096, 64);
  for (std::size_t i = 0; i < c.v.size(); ++i) c.v[i] += i % 64 == 5 ? 1.0f : 0.0f;
  for (const char* recipe : {"fp8_e4m3", "sage2_8b"}) {
    SCOPED_TRACE(recipe);
    const std::vector<double> truth = as_double(c.run(recipe));  // with exact sums
    const std::string words = recipe;
    const double one = error(c, (words + ",accumulator=sm90,two_level=off").c_str(), truth);
    const double two = error(c, (words + ",accumulator=sm90").c_str(), truth);
    const double wide = error(c, (words + ",accumulator=sm100,two_level=off").c_str(), truth);
    EXPECT_GT(one, 5 * two);
    EXPECT_GT(one, 0.01);
    EXPECT_LT(two, 0.01);
    EXPECT_GT(two, 1e-5);
    EXPECT_LT(wide, 1e-4);
  }
}

// Sixteen bits: 24 and 25 fractional bits are f32's but for the cut.
TEST(TensorCore, SixteenBitProductsAreNearlyExact) {
  Case c(20, 300, 40, 24);
  for (const char* recipe : {"int_flash_half", "sage1", "int_flash_half,scores=f16,q_scale=none,k_scale=none"}) {
    const std::vector<double> truth = as_double(c.run(recipe));
    for (const char* machine : {"sm80", "sm89", "sm90", "sm100"}) {
      for (const char* level : {"on", "off"}) {
        const std::string words = std::string(recipe) + ",accumulator=" + machine + ",two_level=" + level;
        const double difference = error(c, words.c_str(), truth);
        EXPECT_LT(difference, 1e-5) << words;
        EXPECT_GT(difference, 0) << words;
      }
    }
  }
}

TEST(TensorCore, InputsOfSixteenBits) {
  Case c(20, 300, 40, 24);
  for (auto* x : {&c.q, &c.k, &c.v}) {
    for (float& value : *x) value = bf16_to_f32(f32_to_bf16(value));
  }
  const std::vector<double> truth = as_double(c.run("exact"));
  std::vector<std::uint16_t> bits[3];
  Operand* operands[3] = {&c.problem.q, &c.problem.k, &c.problem.v};
  int i = 0;
  for (auto* x : {&c.q, &c.k, &c.v}) {
    for (float value : *x) bits[i].push_back(f32_to_bf16(value));
    operands[i]->data = bits[i].data();
    operands[i]->dtype = DType::bf16;
    ++i;
  }
  c.problem.recipe = *parse_recipe("exact,accumulator=sm90");
  attention(c.problem);
  const double difference = relative_l2(c.out, truth);
  EXPECT_LT(difference, 3e-3);  // P in bf16
  EXPECT_GT(difference, 3e-4);
}

// A key outside the mask has no part in a sum, whatever its value is.
TEST(TensorCore, UnseenKeysStayUnseen) {
  Case c(4, 200, 16);
  for (std::int64_t i = 0; i < 16; ++i) c.v_row(150)[i] = std::numeric_limits<float>::infinity();
  std::vector<std::uint8_t> mask(4 * 200, 1);
  for (std::size_t row = 0; row < 4; ++row) mask[row * 200 + 150] = 0;
  c.problem.mask = shared_mask(mask.data(), DType::boolean, 200);
  for (const char* recipe : {"int_flash_half,accumulator=sm90", "fp8_e5m2,accumulator=sm90,two_level=off"}) {
    for (float x : c.run(recipe)) ASSERT_TRUE(std::isfinite(x)) << recipe;
  }
}

TEST(TensorCore, FloatsOf32BitsAreRefused) {
  Case c(2, 3, 4);
  for (const char* recipe :
       {"exact,accumulator=sm90", "fp8_e4m3,p=input,p_range=1,values=input,v_scale=none,accumulator=sm90"}) {
    try {
      c.run(recipe);
      ADD_FAILURE() << recipe;
    } catch (const std::runtime_error& refused) {
      EXPECT_NE(std::string(refused.what()).find("f16 and bf16 inputs"), std::string::npos) << refused.what();
    }
  }
}

}  // namespace
}  // namespace octavo::reference
