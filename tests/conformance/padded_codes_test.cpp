// quantize() with kv_lens and key_mask: codes, scales and means are the oracle's byte for byte and do not depend on
// what the excluded rows hold; attention on such codes is attention on the floats with the same options.
#include <gtest/gtest.h>

#include <cstring>

#include "padding.hpp"
#include "runners.hpp"
#include "same_codes.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

// Codes of excluded rows are 0: bytes of zeros in every format.
void expect_zero_codes(const QuantizedView& view, const Padding& padding, const Placement& place) {
  const bool nhd = place.layout == Layout::nhd;
  const std::int64_t heads = view.codes.shape[nhd ? 2 : 1], dim = view.codes.shape[3], bits = bits_of(view.codes.dtype);
  const auto* bytes = static_cast<const unsigned char*>(view.codes.data);
  for (std::int64_t b = 0; b < padding.batch; ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t r = 0; r < padding.rows; ++r) {
        if (padding.has(b, r)) continue;
        const std::int64_t row =
            b * view.codes.strides[0] + h * view.codes.strides[nhd ? 2 : 1] + r * view.codes.strides[nhd ? 1 : 2];
        for (std::int64_t i = 0; i < (dim * bits + 7) / 8; ++i)
          ASSERT_EQ(bytes[row * bits / 8 + i], 0) << "row " << r << " byte " << i;
      }
    }
  }
}

TEST(PaddedCodes, AreTheOraclesAndHoldNothingOfExcludedRows) {
  const Extents shapes[] = {{2, 2, 130, 17}, {3, 1, 300, 32}, {1, 3, 20, 64}};
  const DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
  BackwardsRunner backwards;
  ThreadsRunner three(3);
  int turn = 0, compared = 0;
  for (const char* text : kPaddedRecipes) {
    const Recipe recipe = recipe_of(text);
    for (const Role role : {Role::k, Role::v}) {
      for (int kind = 0; kind < 4; ++kind, ++turn) {
        const Extents& e = shapes[turn % 3];
        const Placement place{.layout = turn % 2 == 0 ? Layout::nhd : Layout::hnd, .padding = turn % 3};
        const DType dtype = dtypes[turn / 2 % 3];
        std::mt19937 random(static_cast<std::uint32_t>(turn));
        const Padding padding = padding_of(kind, e.batch, e.rows, random);
        const std::vector<float> values = normal_values(e.elements(), random);
        SCOPED_TRACE(std::string(text) + " " + std::string(to_string(role)) + " kind " + std::to_string(kind));
        const auto made_by = [&](const std::string& implementation, float junk, ParallelRunner* runner) {
          const Tensor x = padded_tensor(values, e, dtype, place, padding, junk);
          Execution execution;
          execution.implementation = implementation;
          execution.runner = runner;
          return quantize(x.view(), role, recipe, place.layout, execution, {}, padding.kv_lens(), padding.key_mask());
        };
        const Result<QuantizedTensor> expected = made_by("reference", 0.5f, nullptr);
        if (!expected.ok()) {
          ASSERT_EQ(expected.status().code(), StatusCode::kUnimplemented) << expected.status().message();
          continue;
        }
        expect_zero_codes(expected->view(), padding, place);
        std::vector<std::string> names = supported_implementations();
        names.emplace_back("reference");
        for (std::size_t i = 0; i < names.size(); ++i) {
          SCOPED_TRACE(names[i]);
          for (int j = 0; j < 3; ++j) {
            ParallelRunner* const runner = j == 0 ? static_cast<ParallelRunner*>(&three) : &backwards;
            const Result<QuantizedTensor> got = made_by(names[i], kJunk[(turn + 2 * j) % 7], runner);
            ASSERT_TRUE(got.ok()) << got.status().message();
            expect_same_codes(got->view(), expected->view(), copy_on_host);
            ++compared;
          }
        }
      }
    }
  }
  EXPECT_GT(compared, 300);
}

// The first kv_lens keys have the codes, scales and mean that they would have alone.
TEST(PaddedCodes, ALengthIsAShorterTensor) {
  for (const char* text : {"int8", "int8_fast,robust=off", "int4", "int8_fast,v_scale=token"}) {
    for (const Role role : {Role::k, Role::v}) {
      std::mt19937 random(5);
      const Extents whole{1, 1, 200, 32}, cut{1, 1, 150, 32};
      std::vector<float> values = normal_values(whole.elements(), random);
      const Padding padding{{150}, {}, 1, 200};
      const Tensor x = padded_tensor(values, whole, DType::f32, {}, padding, 1e4f);
      values.resize(static_cast<std::size_t>(cut.elements()));
      Tensor shorter(DType::f32, cut, {});
      shorter.fill(values);
      const Recipe recipe = recipe_of(text);
      const Result<QuantizedTensor> a = quantize(x.view(), role, recipe, Layout::nhd, {}, {}, padding.kv_lens());
      const Result<QuantizedTensor> b = quantize(shorter.view(), role, recipe);
      ASSERT_TRUE(a.ok() && b.ok()) << a.status().message() << b.status().message();
      const auto bytes = static_cast<std::size_t>(150 * 32 * bits_of(b->view().codes.dtype) / 8);
      EXPECT_EQ(std::memcmp(a->view().codes.data, b->view().codes.data, bytes), 0) << text;
      EXPECT_EQ(std::memcmp(a->view().scales.data, b->view().scales.data, 150 * 4), 0) << text;
      if (a->view().mean.given()) {
        EXPECT_EQ(std::memcmp(a->view().mean.data, b->view().mean.data, 32 * 4), 0) << text;
      }
    }
  }
}

// attention(quantize(k, kv_lens, key_mask), kv_lens, key_mask) has the bits of attention on the floats, whatever the
// excluded rows hold. Without smooth_q: its bias is made from dequantized keys.
TEST(PaddedCodes, AttentionIsThatOnFloats) {
  int compared = 0;
  for (const char* text : kPaddedRecipes) {
    Recipe recipe = recipe_of(text);
    recipe.smooth_q = false;
    for (int kind = 0; kind < 4; ++kind) {
      SCOPED_TRACE(std::string(text) + " kind " + std::to_string(kind));
      const PaddedOperands operands(kind);
      const auto& [eq, ek, padding, q, k, v] = operands;
      std::vector<std::string> names = supported_implementations();
      names.emplace_back("reference");
      for (const std::string& name : names) {
        Execution execution;
        execution.implementation = name;
        AttentionInputs inputs;
        inputs.q = q.view(), inputs.k = k.view(), inputs.v = v.view();
        inputs.kv_lens = padding.kv_lens(), inputs.key_mask = padding.key_mask();
        std::vector<float> floats(static_cast<std::size_t>(eq.elements()), 7), codes(floats.size(), 8);
        std::vector<float> lse(2 * 2 * 20, 7), lse_of_codes(lse.size(), 8);
        AttentionParams params;
        params.recipe = recipe;
        inputs.out = {floats.data(), DType::f32, {2, 20, 2, 32}};
        inputs.lse = {lse.data(), DType::f32, {2, 2, 20}};
        Status status = attention(inputs, params, execution);
        ASSERT_TRUE(status.ok()) << status.message();
        const auto made = [&](const Tensor& x, Role role) {
          return quantize(x.view(), role, recipe, Layout::nhd, execution, {}, padding.kv_lens(), padding.key_mask());
        };
        const Result<QuantizedTensor> qk = made(k, Role::k), qv = made(v, Role::v);
        if (qk.ok()) inputs.k = {}, inputs.quantized_k = &qk->view();
        if (qv.ok()) inputs.v = {}, inputs.quantized_v = &qv->view();
        ASSERT_TRUE(qk.ok() || qv.ok()) << qk.status().message();
        inputs.out.data = codes.data(), inputs.lse.data = lse_of_codes.data();
        status = attention(inputs, params, execution);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(std::memcmp(floats.data(), codes.data(), floats.size() * 4), 0) << name;
        EXPECT_EQ(std::memcmp(lse.data(), lse_of_codes.data(), lse.size() * 4), 0) << name << " LSE";
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 150);
}

TEST(PaddedCodes, Refusals) {
  std::vector<float> x(2 * 9 * 16, 1);
  const TensorView view(x.data(), DType::f32, {2, 9, 1, 16});
  const std::vector<std::int32_t> lens = {3, 10};
  const std::vector<unsigned char> exists(18, 1);
  const std::vector<std::int64_t> starts = {0, 9};
  const TensorView kv_lens(lens.data(), DType::s32, {2}), key_mask(exists.data(), DType::boolean, {2, 9});
  const auto message = [&](Role role, const TensorView& of, const TensorView& cu, const TensorView& a,
                           const TensorView& b) {
    const Result<QuantizedTensor> result = quantize(of, role, Recipe{}, Layout::nhd, {}, cu, a, b);
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    return result.status().message();
  };
  EXPECT_NE(message(Role::k, view, {}, kv_lens, {}).find("kv_lens[1] is 10; allowed are 0 to 9 (rows of x)"),
            std::string::npos);
  EXPECT_NE(message(Role::q, view, {}, kv_lens, {}).find("kv_lens is given for role q"), std::string::npos);
  EXPECT_NE(message(Role::q, view, {}, {}, key_mask).find("key_mask is given for role q"), std::string::npos);
  EXPECT_NE(message(Role::v, view, {}, {}, {exists.data(), DType::boolean, {9, 2}}).find("must be [2, 9]"),
            std::string::npos);
  EXPECT_NE(message(Role::v, view, {}, {}, {exists.data(), DType::u8, {2, 9}}).find("key_mask is u8"),
            std::string::npos);
  const TensorView varlen(x.data(), DType::f32, {9, 1, 16}), cu(starts.data(), DType::s64, {2});
  EXPECT_NE(message(Role::k, varlen, cu, {lens.data(), DType::s32, {1}}, {}).find("kv_lens and cu_seqlens"),
            std::string::npos);
  EXPECT_NE(message(Role::k, varlen, cu, {}, key_mask).find("key_mask and cu_seqlens"), std::string::npos);
}

}  // namespace
}  // namespace octavo::test
