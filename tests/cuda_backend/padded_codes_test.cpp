// quantize() with kv_lens and key_mask on a device: codes, scales and means are the oracle's byte for byte, whatever
// the excluded rows hold; attention on such codes is attention on the floats with the same options.
#include <gtest/gtest.h>

#include "card.hpp"
#include "cuda/host/runtime.hpp"
#include "device_twin.hpp"
#include "padding.hpp"
#include "same_codes.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

void copy_to_host(void* to, const TensorView& view, std::size_t bytes) {
  EXPECT_TRUE(cuda::runtime()->copy(view.device.index, to, view.data, bytes, cuda::CopyKind::to_host).ok());
}

Result<QuantizedTensor> quantize_on_device(DeviceTwins& twins, const Tensor& x, Role role, const Recipe& recipe,
                                           Layout layout, const Padding& padding) {
  return quantize(twins.to_device(x.view()), role, recipe, layout, {}, {}, twins.to_device(padding.kv_lens()),
                  twins.to_device(padding.key_mask()));
}

TEST(CudaPaddedCodes, BytesAreTheOracles) {
  const Card card;
  const Extents shapes[] = {{2, 2, 130, 17}, {3, 1, 300, 32}, {1, 3, 20, 64}, {2, 1, 257, 129}};
  const DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
  int turn = 0, compared = 0;
  for (const char* text : kPaddedRecipes) {
    const Recipe recipe = recipe_of(text);
    for (const Role role : {Role::k, Role::v}) {
      for (int kind = 0; kind < 4; ++kind, ++turn) {
        SCOPED_TRACE(std::string(text) + " " + std::string(to_string(role)) + " kind " + std::to_string(kind));
        const Extents& e = shapes[(turn + turn / 4) % 4];
        const Placement place{.layout = turn % 2 == 0 ? Layout::nhd : Layout::hnd, .padding = turn % 3};
        const DType dtype = dtypes[turn / 2 % 3];
        std::mt19937 random(static_cast<std::uint32_t>(turn));
        const Padding padding = padding_of(kind, e.batch, e.rows, random);
        const std::vector<float> values = normal_values(e.elements(), random);
        const Tensor clean = padded_tensor(values, e, dtype, place, padding, 0.5f);
        Execution reference;
        reference.implementation = "reference";
        const Result<QuantizedTensor> expected =
            quantize(clean.view(), role, recipe, place.layout, reference, {}, padding.kv_lens(), padding.key_mask());
        if (!expected.ok()) {  // the recipe keeps this operand in floats
          ASSERT_EQ(expected.status().code(), StatusCode::kUnimplemented) << expected.status().message();
          continue;
        }
        for (const float junk : {kJunk[turn % 7], kJunk[(turn + 3) % 7]}) {
          DeviceTwins twins({DeviceType::cuda, 0});
          const Tensor x = padded_tensor(values, e, dtype, place, padding, junk);
          const Result<QuantizedTensor> got = quantize_on_device(twins, x, role, recipe, place.layout, padding);
          ASSERT_TRUE(got.ok()) << got.status().message();
          EXPECT_EQ(last_implementation().substr(0, 2), "sm");
          expect_same_codes(got->view(), expected->view(), copy_to_host);
          ++compared;
        }
      }
    }
  }
  EXPECT_GT(compared, 250);
  EXPECT_EQ(card.held(), 0) << "memory was not given back";
}

// The host cannot read lengths on a device: kernels clamp them to 0..N.
TEST(CudaPaddedCodes, LengthsOutsideTheTensorAreClamped) {
  const Card card;
  std::mt19937 random(4);
  const Extents e{3, 1, 150, 32};
  const std::vector<float> values = normal_values(e.elements(), random);
  const Padding given{{-5, 1000, 149}, {}, 3, 150}, clamped{{0, 150, 149}, {}, 3, 150};
  const Tensor x = padded_tensor(values, e, DType::f32, {}, clamped, 7.0f);
  for (const Role role : {Role::k, Role::v}) {
    const Recipe recipe = recipe_of("int8_fast");
    DeviceTwins twins({DeviceType::cuda, 0});
    const Result<QuantizedTensor> got = quantize_on_device(twins, x, role, recipe, Layout::nhd, given);
    const Result<QuantizedTensor> expected = quantize(x.view(), role, recipe, Layout::nhd, {}, {}, clamped.kv_lens());
    ASSERT_TRUE(got.ok() && expected.ok()) << got.status().message() << expected.status().message();
    expect_same_codes(got->view(), expected->view(), copy_to_host);
  }
}

// Without smooth_q: its bias is made from dequantized keys.
TEST(CudaPaddedCodes, AttentionIsThatOnFloats) {
  const Card card;
  int compared = 0;
  for (const char* text : kPaddedRecipes) {
    AttentionParams params;
    params.recipe = recipe_of(text);
    params.recipe.smooth_q = false;
    for (int kind = 0; kind < 4; ++kind) {
      SCOPED_TRACE(std::string(text) + " kind " + std::to_string(kind));
      const PaddedOperands operands(kind);
      const auto& [eq, ek, padding, q, k, v] = operands;
      std::vector<float> out(static_cast<std::size_t>(eq.elements()), 7), lse(2 * 2 * 20, 7);
      DeviceTwins twins({DeviceType::cuda, 0}), written({DeviceType::cuda, 0});
      AttentionInputs inputs;
      inputs.q = twins.to_device(q.view()), inputs.k = twins.to_device(k.view()), inputs.v = twins.to_device(v.view());
      inputs.kv_lens = twins.to_device(padding.kv_lens()), inputs.key_mask = twins.to_device(padding.key_mask());
      inputs.out = written.to_device({out.data(), DType::f32, {2, 20, 2, 32}});
      inputs.lse = written.to_device({lse.data(), DType::f32, {2, 2, 20}});
      Status status = attention(inputs, params);
      if (status.code() == StatusCode::kUnimplemented) continue;  // v_scale=token, other key blocks
      ASSERT_TRUE(status.ok()) << status.message();
      written.to_host();
      const std::vector<float> of_floats = out, lse_of_floats = lse;
      const Result<QuantizedTensor> qk = quantize_on_device(twins, k, Role::k, params.recipe, Layout::nhd, padding);
      const Result<QuantizedTensor> qv = quantize_on_device(twins, v, Role::v, params.recipe, Layout::nhd, padding);
      if (qk.ok()) inputs.k = {}, inputs.quantized_k = &qk->view();
      if (qv.ok()) inputs.v = {}, inputs.quantized_v = &qv->view();
      ASSERT_TRUE(qk.ok() || qv.ok()) << qk.status().message();
      status = attention(inputs, params);
      ASSERT_TRUE(status.ok()) << status.message();
      written.to_host();
      EXPECT_EQ(out, of_floats);
      EXPECT_EQ(lse, lse_of_floats);
      ++compared;
    }
  }
  EXPECT_GT(compared, 60);
}

}  // namespace
}  // namespace octavo::test
