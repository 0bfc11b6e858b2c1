// Codes, scales and means: byte for byte the oracle's, on every implementation, for every operand that a recipe
// quantizes, over odd shapes, dtypes, places in memory, and rows that hold NaN, infinities, zeros and denormals.
#include "octavo/quantize.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "runners.hpp"
#include "scenario.hpp"
#include "spoilt.hpp"

namespace octavo::test {
namespace {

// Compositions beside the presets: each granularity and step with each role at least once.
const char* const kMore[] = {"int8,v_scale=token",
                             "int8,v_scale=tensor",
                             "int8,v_scale=channel,hadamard_v=off",
                             "int8,v_scale=block,key_block=256",
                             "int8,v_scale=block_channel,key_block=64",
                             "int8,v_scale=token,smooth_v=on",
                             "int8,v_scale=channel,smooth_v=on,v_range=100",
                             "int8,q_scale=warp,k_scale=warp",
                             "int8,q_scale=warp,k_scale=warp,q_group=64,k_group=128",
                             "sage2_8b,q_group=16,k_group=128",
                             "int8,q_scale=tensor,k_scale=tensor",
                             "int8,hadamard=off",
                             "int8,smooth_q=off,smooth_k=off",
                             "int4,q_scale=block,k_scale=thread",
                             "int_flash_int4,v_scale=token"};

std::size_t code_bytes(const TensorView& codes) {
  return static_cast<std::size_t>((codes.shape[0] * codes.strides[0] * bits_of(codes.dtype) + 7) / 8);
}

// NaN is NaN, whatever its payload; everything else is bits.
::testing::AssertionResult same_floats(const TensorView& got, const TensorView& expected) {
  if (shape_string(got) != shape_string(expected))
    return ::testing::AssertionFailure() << "shape " << shape_string(got);
  if (!expected.given()) return ::testing::AssertionSuccess();
  const auto* a = static_cast<const float*>(got.data);
  const auto* b = static_cast<const float*>(expected.data);
  for (std::int64_t i = 0; i < expected.elements(); ++i)
    if (std::memcmp(a + i, b + i, 4) != 0 && !(std::isnan(a[i]) && std::isnan(b[i])))
      return ::testing::AssertionFailure() << "element " << i << " is " << a[i] << ", expected " << b[i];
  return ::testing::AssertionSuccess();
}

struct Shape {
  Extents extents;
  Placement place;
};

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

void expect_same_codes(const std::string& recipe_text, Role role, const Shape& shape, DType dtype,
                       const Spoilt& spoilt) {
  const Recipe recipe = recipe_of(recipe_text);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(shape.extents.elements()));
  for (float& x : values) x = normal(random);
  spoilt.spoil(values, shape.extents);
  Tensor x(dtype, shape.extents, shape.place);
  x.fill(values);
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
    if (b.codes.elements() > 0) {
      EXPECT_EQ(std::memcmp(a.codes.data, b.codes.data, code_bytes(b.codes)), 0) << "codes differ";
    }
    EXPECT_TRUE(same_floats(a.scales, b.scales)) << "scales";
    EXPECT_TRUE(same_floats(a.mean, b.mean)) << "mean";
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
