// octavo.h in C++, alone and beside the C++ interface: the initializers hold the defaults of the C++ structs.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "octavo/octavo.h"
#include "octavo/octavo.hpp"

// Sizes and places of every field are the ABI: a change here breaks every program that was built before.
static_assert(sizeof(octavo_tensor_t) == 96 && offsetof(octavo_tensor_t, shape) == 32);
static_assert(sizeof(octavo_recipe_t) == 120 && offsetof(octavo_recipe_t, v_range) == 80);
static_assert(offsetof(octavo_recipe_t, q_group) == 88 && offsetof(octavo_recipe_t, k_group) == 92);
static_assert(offsetof(octavo_recipe_t, qk_gains) == 96 && offsetof(octavo_recipe_t, keep_heavy) == 112);
static_assert(sizeof(octavo_runner_t) == 32 && offsetof(octavo_runner_t, threads) == 24);
static_assert(sizeof(octavo_execution_t) == 48 && offsetof(octavo_execution_t, workspace_bytes) == 40);
static_assert(sizeof(octavo_device_t) == 48 && offsetof(octavo_device_t, multiprocessors) == 40);
static_assert(sizeof(octavo_quantized_view_t) == 64 && offsetof(octavo_quantized_view_t, role) == 40);
static_assert(sizeof(octavo_attention_inputs_t) == 136 && offsetof(octavo_attention_inputs_t, layout) == 120);
static_assert(offsetof(octavo_attention_inputs_t, key_mask) == 128);
static_assert(sizeof(octavo_attention_params_t) == 56 && offsetof(octavo_attention_params_t, causal) == 48);
static_assert(sizeof(octavo_kv_cache_options_t) == 96 && offsetof(octavo_kv_cache_options_t, page_size) == 56);
static_assert(offsetof(octavo_kv_cache_options_t, pool) == 72 && offsetof(octavo_kv_cache_options_t, pool_bytes) == 80);
static_assert(sizeof(octavo_kv_cache_query_t) == 104 && offsetof(octavo_kv_cache_query_t, layout) == 56);
static_assert(offsetof(octavo_kv_cache_query_t, cu_seqlens_q) == 64);
static_assert(offsetof(octavo_kv_cache_query_t, alibi_slopes) == 96);
static_assert(sizeof(octavo_kv_cache_params_t) == 48 && offsetof(octavo_kv_cache_params_t, causal) == 40);
static_assert(offsetof(octavo_kv_cache_params_t, alibi) == 44);
static_assert(std::is_same_v<octavo_status_t, std::int32_t>);

namespace octavo {
namespace {

TEST(HeaderTest, InitializersHoldTheDefaults) {
  const AttentionParams params;
  const octavo_attention_params_t c_params = OCTAVO_ATTENTION_PARAMS_INIT;
  EXPECT_TRUE(std::isnan(c_params.softmax_scale) && std::isnan(params.softmax_scale));
  EXPECT_EQ(c_params.window_left, params.window_left);
  EXPECT_EQ(c_params.window_right, params.window_right);
  EXPECT_EQ(c_params.softcap, params.softcap);
  EXPECT_EQ(c_params.causal, static_cast<int>(params.causal));
  const octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  char text[64];
  ASSERT_EQ(octavo_recipe_text(&recipe, text, sizeof text, nullptr), OCTAVO_OK);
  EXPECT_EQ(text, to_string(Recipe{}));
  const octavo_attention_inputs_t inputs = OCTAVO_ATTENTION_INPUTS_INIT;
  EXPECT_EQ(inputs.layout, static_cast<int>(AttentionInputs{}.layout));
}

TEST(HeaderTest, DenseTensorsHaveRowMajorStrides) {
  const std::int64_t shape[4] = {2, 3, 5, 7};
  const octavo_tensor_t c_tensor = octavo_dense_tensor(shape, OCTAVO_S8, 4, shape);
  const TensorView view(shape, DType::s8, {2, 3, 5, 7});
  EXPECT_EQ(c_tensor.data, view.data);
  for (std::size_t axis = 0; axis < 4; ++axis) {
    EXPECT_EQ(c_tensor.shape[axis], view.shape[axis]);
    EXPECT_EQ(c_tensor.strides[axis], view.strides[axis]);
  }
  // A rank that there is not reads nothing beyond four extents and is refused by every call.
  EXPECT_EQ(octavo_dense_tensor(shape, OCTAVO_S8, 9, shape).rank, 9);
  EXPECT_EQ(octavo_dense_tensor(shape, OCTAVO_S8, -9, shape).rank, -9);
}

}  // namespace
}  // namespace octavo
