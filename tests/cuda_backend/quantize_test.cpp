// Codes, scales and means made by the CUDA kernels: byte for byte the oracle's, for every operand that a recipe
// quantizes, over odd shapes, dtypes, places in memory, and rows that hold NaN, infinities, zeros and denormals.
#include "octavo/quantize.hpp"

#include <gtest/gtest.h>

#include "card.hpp"
#include "cuda/host/runtime.hpp"
#include "device_twin.hpp"
#include "octavo/device.hpp"
#include "same_codes.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

const char* const kMore[] = {"int8_fast,v_scale=token",
                             "int8_fast,v_scale=tensor",
                             "int8_fast,v_scale=channel,hadamard_v=off",
                             "int8_fast,v_scale=block,key_block=256",
                             "int8_fast,v_scale=block_channel,key_block=64",
                             "int8_fast,v_scale=channel,smooth_v=on,v_range=100",
                             "int8_fast,q_scale=warp,k_scale=warp",
                             "int8_fast,q_scale=tensor,k_scale=tensor",
                             "int8_block,q_group=16,k_group=128",
                             "int4,q_scale=block,k_scale=thread",
                             "int_flash_int4,v_scale=token",
                             "int8_fast",
                             "int8_block,smooth_q=on"};

const Shape kShapes[] = {
    {{1, 1, 1, 1}, {}},
    {{2, 3, 130, 3}, {.layout = Layout::hnd}},
    {{1, 2, 65, 16}, {.channel_step = 2}},
    {{1, 1, 300, 17}, {.layout = Layout::hnd, .padding = 3, .rows_backwards = true}},
    {{2, 2, 33, 64}, {.offset = 3, .heads_backwards = true}},
    {{1, 2, 129, 96}, {.padding = 6}},
    {{1, 1, 140, 128}, {}},
    {{1, 1, 131, 129}, {.layout = Layout::hnd, .offset = 1}},
    {{1, 1, 20, 256}, {}},
};

void copy_to_host(void* to, const TensorView& view, std::size_t bytes) {
  EXPECT_TRUE(cuda::runtime()->copy(view.device.index, to, view.data, bytes, cuda::CopyKind::to_host).ok());
}

void expect_the_oracles_codes(const std::string& recipe_text, Role role, const Shape& shape, DType dtype,
                              const Spoilt& spoilt) {
  const Recipe recipe = recipe_of(recipe_text);
  Tensor x = normal_rows(dtype, shape, spoilt);
  Execution execution;
  execution.implementation = "reference";
  const Result<QuantizedTensor> expected = quantize(x.view(), role, recipe, shape.place.layout, execution);
  DeviceTwins twins({DeviceType::cuda, 0});
  const TensorView on_device = twins.to_device(x.view());
  const Result<QuantizedTensor> got = quantize(on_device, role, recipe, shape.place.layout);
  if (!expected.ok()) {  // the recipe keeps this operand in floats
    EXPECT_EQ(got.status().message(), expected.status().message());
    return;
  }
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(last_implementation().substr(0, 2), "sm");  // on a GPU; all have the same quantizers
  EXPECT_EQ(got->view().codes.device, (Device{DeviceType::cuda, 0}));
  expect_same_codes(got->view(), expected->view(), copy_to_host);
}

TEST(CudaQuantizeTest, BytesAreTheOracles) {
  [[maybe_unused]] const Card runtime;
  std::vector<std::string> recipe_texts;
  for (const RecipeInfo& info : recipes()) recipe_texts.emplace_back(info.name);
  recipe_texts.insert(recipe_texts.end(), std::begin(kMore), std::end(kMore));
  const DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
  std::size_t turn = 0;
  for (const std::string& recipe : recipe_texts) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      for (const Shape& shape : kShapes) {
        const Spoilt& spoilt = kSpoilt[turn % std::size(kSpoilt)];
        const DType dtype = dtypes[turn / std::size(kSpoilt) % 3];
        ++turn;
        SCOPED_TRACE(recipe + " " + std::string(to_string(role)) + " " + std::string(to_string(dtype)) + " rows " +
                     std::to_string(shape.extents.rows) + " dim " + std::to_string(shape.extents.dim) + " " +
                     spoilt.what);
        expect_the_oracles_codes(recipe, role, shape, dtype, spoilt);
      }
      // 11 turns for 9 shapes: without a divisor in common with 6 kinds of rows by 3 dtypes, so that over the recipes
      // each shape meets each of them.
      turn += 2;
    }
  }
  EXPECT_EQ(runtime.held(), 0) << "memory was not given back";
}

TEST(CudaQuantizeTest, NoRows) {
  [[maybe_unused]] const Card runtime;
  for (Role role : {Role::q, Role::k, Role::v})
    for (const char* recipe : {"int8_fast", "sage2_8b", "int_flash"})
      expect_the_oracles_codes(recipe, role, {{2, 2, 0, 16}, {}}, DType::f32, kSpoilt[0]);
}

TEST(CudaQuantizeTest, DequantizeIsTheCpus) {
  [[maybe_unused]] const Card runtime;
  for (const char* recipe :
       {"int8_fast", "int4", "int8_block", "sage2_4b", "fa3_fp8", "fp8_e5m2", "int8_fast,v_scale=channel"}) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      SCOPED_TRACE(std::string(recipe) + " " + std::string(to_string(role)));
      const Shape shape = {{2, 2, 140, 96}, {}};
      Tensor x = normal_rows(DType::f32, shape, kSpoilt[0], 5);
      Tensor expected(DType::bf16, shape.extents, {.padding = 3}), got(DType::bf16, shape.extents, {.padding = 3});
      const Result<QuantizedTensor> codes = quantize(x.view(), role, recipe_of(recipe));
      ASSERT_TRUE(codes.ok()) << codes.status().message();
      ASSERT_TRUE(dequantize(codes->view(), expected.view()).ok());
      DeviceTwins read({DeviceType::cuda, 0}), written({DeviceType::cuda, 0});
      const QuantizedView moved = read.to_device(codes->view());
      const Status status = dequantize(moved, written.to_device(got.view()));
      ASSERT_TRUE(status.ok()) << status.message();
      written.to_host();
      EXPECT_EQ(got.values(), expected.values());
      EXPECT_TRUE(got.poison_is_untouched());
    }
  }
}

}  // namespace
}  // namespace octavo::test
