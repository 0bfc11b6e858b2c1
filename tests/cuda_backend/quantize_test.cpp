// Codes, scales and means made by the CUDA kernels: byte for byte the oracle's, for every operand that a recipe
// quantizes, over odd shapes, dtypes, places in memory, and rows that hold NaN, infinities, zeros and denormals.
#include "octavo/quantize.hpp"

#include <gtest/gtest.h>

#include <random>

#include "card.hpp"
#include "cuda/runtime.hpp"
#include "device_twin.hpp"
#include "octavo/device.hpp"
#include "quantize_cases.hpp"
#include "scenario.hpp"
#include "tensor.hpp"

namespace octavo::test {
namespace {

std::vector<QuantizeShape> shapes() {
  return quantize_shapes({{{1, 2, 129, 96}, {.padding = 6}},
                          {{1, 1, 140, 128}, {}},
                          {{1, 1, 131, 129}, {.layout = Layout::hnd, .offset = 1}},
                          {{1, 1, 20, 256}, {}}});
}

// stored_bytes() of a view in host or device memory.
std::vector<unsigned char> bytes_of(const TensorView& view) {
  if (view.device.type != DeviceType::cuda) return stored_bytes(view);
  std::vector<unsigned char> bytes(stored_size(view));
  cuda::Runtime& cuda = *cuda::runtime();
  EXPECT_TRUE(cuda.copy(view.device.index, bytes.data(), view.data, bytes.size(), cuda::CopyKind::to_host).ok());
  return bytes;
}

void expect_same_codes(const std::string& recipe_text, Role role, const QuantizeShape& shape, DType dtype,
                       const Spoilt& spoilt) {
  const Recipe recipe = recipe_of(recipe_text);
  const Tensor x = quantize_input(shape, dtype, spoilt);
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
  EXPECT_EQ(last_implementation(), "sm80");
  const QuantizedView &a = got->view(), &b = expected->view();
  EXPECT_EQ(a.codes.device, (Device{DeviceType::cuda, 0}));
  ASSERT_EQ(a.codes.dtype, b.codes.dtype);
  ASSERT_EQ(a.codes.strides, b.codes.strides);
  EXPECT_EQ(bytes_of(a.codes), bytes_of(b.codes)) << "codes differ";
  EXPECT_EQ(shape_string(a.scales), shape_string(b.scales));
  EXPECT_EQ(shape_string(a.mean), shape_string(b.mean));
  EXPECT_TRUE(same_floats(bytes_of(a.scales), bytes_of(b.scales))) << "scales";
  EXPECT_TRUE(same_floats(bytes_of(a.mean), bytes_of(b.mean))) << "mean";
}

TEST(CudaQuantizeTest, BytesAreTheOracles) {
  [[maybe_unused]] const Card runtime;
  const std::vector<std::string> recipe_texts = quantize_recipes({"int8_block,q_group=16,k_group=128"});
  const std::vector<QuantizeShape> all_shapes = shapes();
  const DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
  std::size_t turn = 0;
  for (const std::string& recipe : recipe_texts) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      for (const QuantizeShape& shape : all_shapes) {
        const Spoilt& spoilt = kSpoilt[turn % std::size(kSpoilt)];
        const DType dtype = dtypes[turn / std::size(kSpoilt) % 3];
        ++turn;
        SCOPED_TRACE(quantize_trace(recipe, role, dtype, shape, spoilt));
        expect_same_codes(recipe, role, shape, dtype, spoilt);
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
    for (const char* recipe : {"int8", "sage2_8b", "int_flash"})
      expect_same_codes(recipe, role, {{2, 2, 0, 16}, {}}, DType::f32, kSpoilt[0]);
}

TEST(CudaQuantizeTest, DequantizeIsTheCpus) {
  [[maybe_unused]] const Card runtime;
  for (const char* recipe : {"int8", "int4", "int8_block", "sage2_4b", "fa3_fp8", "fp8_e5m2", "int8,v_scale=channel"}) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      SCOPED_TRACE(std::string(recipe) + " " + std::string(to_string(role)));
      const QuantizeShape shape = {{2, 2, 140, 96}, {}};
      Tensor x(DType::f32, shape.extents, shape.place), expected(DType::bf16, shape.extents, {.padding = 3});
      Tensor got(DType::bf16, shape.extents, {.padding = 3});
      std::mt19937 random(5);
      std::normal_distribution<float> normal;
      std::vector<float> values(static_cast<std::size_t>(shape.extents.elements()));
      for (float& v : values) v = normal(random);
      x.fill(values);
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
