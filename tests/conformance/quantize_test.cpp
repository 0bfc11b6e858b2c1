// Codes, scales and means: byte for byte the oracle's, on every implementation, for every operand that a recipe
// quantizes, over odd shapes, dtypes, places in memory, and rows that hold NaN, infinities, zeros and denormals.
#include "octavo/quantize.hpp"

#include <gtest/gtest.h>

#include "runners.hpp"
#include "same_codes.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

// Compositions beside the presets: each granularity and step with each role at least once.
const char* const kMore[] = {"int8_fast,v_scale=token",
                             "int8_fast,v_scale=tensor",
                             "int8_fast,v_scale=channel,hadamard_v=off",
                             "int8_fast,v_scale=block,key_block=256",
                             "int8_fast,v_scale=block_channel,key_block=64",
                             "int8_fast,v_scale=token,smooth_v=on",
                             "int8_fast,v_scale=channel,smooth_v=on,v_range=100",
                             "int8_fast,q_scale=warp,k_scale=warp",
                             "int8_fast,q_scale=warp,k_scale=warp,q_group=64,k_group=128",
                             "sage2_8b,q_group=16,k_group=128",
                             "int8_fast,q_scale=tensor,k_scale=tensor",
                             "int8_fast,hadamard=off",
                             "int8_fast,smooth_q=off,smooth_k=off",
                             "int4,q_scale=block,k_scale=thread",
                             "int_flash_int4,v_scale=token"};

const Shape kShapes[] = {
    {{1, 1, 1, 1}, {}},
    {{2, 3, 130, 3}, {.layout = Layout::hnd}},
    {{1, 2, 65, 16}, {.channel_step = 2}},
    {{1, 1, 300, 17}, {.layout = Layout::hnd, .padding = 3, .rows_backwards = true}},
    {{2, 2, 33, 64}, {.offset = 3, .heads_backwards = true}},
    {{1, 2, 129, 96}, {.padding = 5}},
    {{1, 1, 257, 129}, {.layout = Layout::hnd, .offset = 1}},
    {{1, 1, 20, 576}, {}},
};

void expect_the_oracles_codes(const std::string& recipe_text, Role role, const Shape& shape, DType dtype,
                              const Spoilt& spoilt) {
  const Recipe recipe = recipe_of(recipe_text);
  const Tensor x = normal_rows(dtype, shape, spoilt);
  Execution execution;
  execution.implementation = "reference";
  const Result<QuantizedTensor> expected = quantize(x.view(), role, recipe, shape.place.layout, execution);
  if (!expected.ok()) {  // the recipe keeps this operand in floats
    ASSERT_EQ(expected.status().code(), StatusCode::kUnimplemented) << expected.status().message();
    return;
  }
  BackwardsRunner backwards;
  ThreadsRunner three(3);
  const std::vector<std::string> names = supported_implementations();
  for (std::size_t i = 0; i < names.size(); ++i) {
    SCOPED_TRACE(names[i]);
    execution.implementation = names[i];
    execution.runner = i % 2 == 0 ? static_cast<ParallelRunner*>(&three) : &backwards;
    const Result<QuantizedTensor> got = quantize(x.view(), role, recipe, shape.place.layout, execution);
    ASSERT_TRUE(got.ok()) << got.status().message();
    EXPECT_EQ(last_implementation(), names[i]);
    expect_same_codes(got->view(), expected->view(), copy_on_host);
  }
}

TEST(Quantize, BytesAreTheOraclesOnEveryImplementation) {
  std::vector<std::string> recipe_texts;
  for (const RecipeInfo& info : recipes()) recipe_texts.emplace_back(info.name);
  recipe_texts.insert(recipe_texts.end(), std::begin(kMore), std::end(kMore));
  const DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
  std::size_t turn = 0;
  for (const std::string& recipe : recipe_texts) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      for (const Shape& shape : kShapes) {
        for (const Spoilt& spoilt : kSpoilt) {
          const DType dtype =
              dtypes[turn++ % 3];  // 8 shapes and 6 kinds of rows: each meets each dtype over the recipes
          SCOPED_TRACE(recipe + " " + std::string(to_string(role)) + " " + std::string(to_string(dtype)) + " rows " +
                       std::to_string(shape.extents.rows) + " dim " + std::to_string(shape.extents.dim) + " " +
                       spoilt.what);
          expect_the_oracles_codes(recipe, role, shape, dtype, spoilt);
        }
        ++turn;
      }
      ++turn;
    }
  }
}

TEST(Quantize, NoRows) {
  for (Role role : {Role::q, Role::k, Role::v})
    for (const char* recipe : {"int8", "sage2_8b", "int_flash"})
      expect_the_oracles_codes(recipe, role, {{2, 2, 0, 16}, {}}, DType::f32, kSpoilt[0]);
}

}  // namespace
}  // namespace octavo::test
