// C's calls where there is a device: the stream arrives, devices are listed, and a name asks the driver nothing.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "device_twin.hpp"
#include "emulated_runtime.hpp"
#include "octavo/octavo.h"
#include "octavo/octavo.hpp"

namespace octavo::test {
namespace {

octavo_tensor_t on_device(const TensorView& view) {
  octavo_tensor_t tensor = octavo_dense_tensor(view.data, OCTAVO_F32, view.rank, view.shape.data());
  tensor.device_type = OCTAVO_CUDA;
  return tensor;
}

class CudaCapiTest : public ::testing::Test {
 protected:
  EmulatedRuntime runtime_;
  DeviceTwins twins_{{DeviceType::cuda, 0}};
};

TEST_F(CudaCapiTest, StatesAreMergedOnTheCallersStream) {
  std::vector<float> o(2 * 3 * 8, 1.0f), lse(2 * 3, 0.5f);
  octavo_tensor_t states[6];
  for (int i = 0; i < 6; ++i) {
    states[i] = on_device(twins_.to_device(i % 2 == 0 ? TensorView(o.data(), DType::f32, {1, 3, 2, 8})
                                                      : TensorView(lse.data(), DType::f32, {1, 2, 3})));
  }
  octavo_execution_t execution = OCTAVO_EXECUTION_INIT;
  const auto merge = [&](const octavo_execution_t* how) {
    return octavo_merge_state(&states[0], &states[1], &states[2], &states[3], &states[4], &states[5], OCTAVO_NHD, how);
  };
  runtime_.broken_stream = execution.stream = this;
  EXPECT_EQ(merge(nullptr), OCTAVO_OK) << octavo_last_error();
  EXPECT_EQ(merge(&execution), OCTAVO_INVALID_ARGUMENT) << "the stream did not arrive";
  EXPECT_NE(std::string(octavo_last_error()).find("the stream cannot be used"), std::string::npos);
  runtime_.broken_stream = nullptr;
  EXPECT_EQ(merge(&execution), OCTAVO_OK) << octavo_last_error();
  execution.implementation = "scalar";
  EXPECT_EQ(merge(&execution), OCTAVO_INVALID_ARGUMENT);
  EXPECT_NE(std::string(octavo_last_error()).find("\"scalar\" computes on the CPU"), std::string::npos);
}

TEST_F(CudaCapiTest, Devices) {
  size_t count = 0;
  ASSERT_EQ(octavo_device_count(&count), OCTAVO_OK) << octavo_last_error();
  EXPECT_EQ(count, runtime_.gpus.size());
  octavo_device_t device = OCTAVO_DEVICE_INIT;
  ASSERT_EQ(octavo_device_info(0, &device), OCTAVO_OK) << octavo_last_error();
  EXPECT_EQ(device.device_type, OCTAVO_CUDA);
  EXPECT_EQ(device.device_index, 0);
  EXPECT_EQ(device.name, runtime_.gpus[0].name);
  EXPECT_STREQ(device.compute_capability, "9.0");
  EXPECT_EQ(device.memory_bytes, runtime_.gpus[0].memory_bytes);
  EXPECT_EQ(device.multiprocessors, runtime_.gpus[0].multiprocessors);
  EXPECT_EQ(octavo_device_info(count, &device), OCTAVO_INVALID_ARGUMENT);
  // A program whose struct ends with the names.
  octavo_device_t older = OCTAVO_DEVICE_INIT;
  older.struct_size = offsetof(octavo_device_t, memory_bytes);
  EXPECT_EQ(octavo_device_info(0, &older), OCTAVO_OK) << octavo_last_error();
  EXPECT_STREQ(older.name, device.name);
  EXPECT_EQ(older.memory_bytes, 0u);
  EXPECT_EQ(octavo_synchronize(OCTAVO_CUDA, 0, nullptr), OCTAVO_OK) << octavo_last_error();
  EXPECT_EQ(octavo_synchronize(OCTAVO_CUDA, 3, nullptr), OCTAVO_INVALID_ARGUMENT);
}

TEST_F(CudaCapiTest, VarlenCodes) {
  const std::vector<float> x(150 * 2 * 16, 0.5f);
  const std::vector<std::int32_t> starts = {0, 20, 20, 150};
  const octavo_tensor_t given = on_device(twins_.to_device(TensorView(x.data(), DType::f32, {150, 2, 16})));
  octavo_tensor_t cu_seqlens = on_device(twins_.to_device(TensorView(starts.data(), DType::s32, {4})));
  cu_seqlens.dtype = OCTAVO_S32;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  ASSERT_EQ(octavo_recipe_parse("int8_block", &recipe), OCTAVO_OK) << octavo_last_error();
  octavo_quantized_t* codes = nullptr;
  ASSERT_EQ(octavo_quantize_varlen(&given, &cu_seqlens, OCTAVO_ROLE_V, &recipe, OCTAVO_NHD, nullptr, &codes), OCTAVO_OK)
      << octavo_last_error();
  const octavo_quantized_view_t* view = octavo_quantized_view(codes);
  EXPECT_EQ(view->cu_seqlens->device_type, OCTAVO_CUDA);
  EXPECT_EQ(view->cu_seqlens->dtype, OCTAVO_S64);
  std::vector<float> back(x.size());
  DeviceTwins written({DeviceType::cuda, 0});
  const octavo_tensor_t out = on_device(written.to_device(TensorView(back.data(), DType::f32, {150, 2, 16})));
  EXPECT_EQ(octavo_dequantize(view, &out, nullptr), OCTAVO_OK) << octavo_last_error();
  written.to_host();
  for (const float value : back) ASSERT_NEAR(value, 0.5f, 1e-6f);
  octavo_quantized_free(codes);
}

// 40 of 150 keys exist: the others' values, here 100 times as large, make no scale.
TEST_F(CudaCapiTest, PaddedCodes) {
  std::vector<float> x(150 * 2 * 16, 0.5f);
  std::fill(x.begin() + 40 * 2 * 16, x.end(), 50.0f);
  const std::vector<std::int32_t> lens = {60};
  std::vector<unsigned char> exists(150, 1);
  std::fill(exists.begin() + 40, exists.end(), static_cast<unsigned char>(0));
  const octavo_tensor_t given = on_device(twins_.to_device(TensorView(x.data(), DType::f32, {1, 150, 2, 16})));
  octavo_tensor_t kv_lens = on_device(twins_.to_device(TensorView(lens.data(), DType::s32, {1})));
  octavo_tensor_t key_mask = on_device(twins_.to_device(TensorView(exists.data(), DType::boolean, {1, 150})));
  kv_lens.dtype = OCTAVO_S32, key_mask.dtype = OCTAVO_BOOL;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  ASSERT_EQ(octavo_recipe_parse("int_flash", &recipe), OCTAVO_OK) << octavo_last_error();
  octavo_quantized_t* codes = nullptr;
  ASSERT_EQ(octavo_quantize_padded(&given, &kv_lens, &key_mask, OCTAVO_ROLE_V, &recipe, OCTAVO_NHD, nullptr, &codes),
            OCTAVO_OK)
      << octavo_last_error();
  std::vector<float> back(x.size());
  DeviceTwins written({DeviceType::cuda, 0});
  const octavo_tensor_t out = on_device(written.to_device(TensorView(back.data(), DType::f32, {1, 150, 2, 16})));
  EXPECT_EQ(octavo_dequantize(octavo_quantized_view(codes), &out, nullptr), OCTAVO_OK) << octavo_last_error();
  written.to_host();
  for (std::size_t i = 0; i < back.size(); ++i) ASSERT_NEAR(back[i], i < 40 * 2 * 16 ? 0.5f : 0.0f, 1e-6f) << i;
  octavo_quantized_free(codes);
}

// A program on the CPU that logs who served it shall not wake the driver.
TEST_F(CudaCapiTest, NamesAskTheDriverNothing) {
  std::vector<float> x(3 * 2 * 8, 1.0f), out(x.size());
  AttentionInputs inputs;
  inputs.q = inputs.k = inputs.v = TensorView(x.data(), DType::f32, {1, 3, 2, 8});
  inputs.out = TensorView(out.data(), DType::f32, {1, 3, 2, 8});
  ASSERT_TRUE(attention(inputs).ok());
  const int before = runtime_.counted;
  const char* name = nullptr;
  ASSERT_EQ(octavo_active_implementation(&name), OCTAVO_OK) << octavo_last_error();
  EXPECT_EQ(name, *active_implementation());
  EXPECT_EQ(octavo_last_implementation(), last_implementation());
  EXPECT_EQ(runtime_.counted, before);
}

}  // namespace
}  // namespace octavo::test
