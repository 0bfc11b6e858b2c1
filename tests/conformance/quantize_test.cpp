// Codes, scales and means: byte for byte the oracle's, on every implementation, for every operand that a recipe
// quantizes, over odd shapes, dtypes, places in memory, and rows that hold NaN, infinities, zeros and denormals.
#include "octavo/quantize.hpp"

#include <gtest/gtest.h>

#include "quantize_cases.hpp"
#include "runners.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

std::vector<QuantizeShape> shapes() {
  return quantize_shapes({{{1, 2, 129, 96}, {.padding = 5}},
                          {{1, 1, 257, 129}, {.layout = Layout::hnd, .offset = 1}},
                          {{1, 1, 20, 576}, {}}});
}

void expect_same_codes(const std::string& recipe_text, Role role, const QuantizeShape& shape, DType dtype,
                       const Spoilt& spoilt) {
  const Recipe recipe = recipe_of(recipe_text);
  const Tensor x = quantize_input(shape, dtype, spoilt);
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
    const QuantizedView &a = got->view(), &b = expected->view();
    ASSERT_EQ(a.codes.dtype, b.codes.dtype);
    ASSERT_EQ(a.codes.strides, b.codes.strides);
    EXPECT_EQ(shape_string(a.scales), shape_string(b.scales));
    EXPECT_EQ(shape_string(a.mean), shape_string(b.mean));
    EXPECT_TRUE(stored_bytes(a.codes) == stored_bytes(b.codes)) << "codes differ";
    EXPECT_TRUE(same_floats(stored_bytes(a.scales), stored_bytes(b.scales))) << "scales";
    EXPECT_TRUE(same_floats(stored_bytes(a.mean), stored_bytes(b.mean))) << "mean";
  }
}

TEST(Quantize, BytesAreTheOraclesOnEveryImplementation) {
  const std::vector<std::string> recipe_texts =
      quantize_recipes({"int8,v_scale=token,smooth_v=on", "int8,q_scale=warp,k_scale=warp,q_group=64,k_group=128",
                        "sage2_8b,q_group=16,k_group=128", "int8,hadamard=off", "int8,smooth_q=off,smooth_k=off"});
  const std::vector<QuantizeShape> all_shapes = shapes();
  const DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
  std::size_t turn = 0;
  for (const std::string& recipe : recipe_texts) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      for (const QuantizeShape& shape : all_shapes) {
        for (const Spoilt& spoilt : kSpoilt) {
          const DType dtype = dtypes[turn++ % 3];  // each shape and kind of rows meets each dtype over the recipes
          SCOPED_TRACE(quantize_trace(recipe, role, dtype, shape, spoilt));
          expect_same_codes(recipe, role, shape, dtype, spoilt);
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
      expect_same_codes(recipe, role, {{2, 2, 0, 16}, {}}, DType::f32, kSpoilt[0]);
}

}  // namespace
}  // namespace octavo::test
