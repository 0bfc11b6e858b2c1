// Packed sequences as codes: what quantize() makes of a pack is what it makes of each sequence alone, each in its
// place, and attention() on the pack gives every sequence the bits that it gets alone.
#include <gtest/gtest.h>

#include <cstring>

#include "octavo/octavo.hpp"
#include "pack.hpp"
#include "runners.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

std::vector<std::string> recipe_texts() {
  std::vector<std::string> texts;
  for (const RecipeInfo& info : recipes()) texts.emplace_back(info.name);
  for (const char* more :
       {"int8_fast,q_scale=warp,k_scale=warp", "int8_fast,q_scale=tensor,k_scale=tensor,v_scale=token",
        "int8_fast,v_scale=channel,smooth_v=on", "int4,v_scale=block,key_block=64"})
    texts.emplace_back(more);
  return texts;
}

std::vector<std::uint8_t> bytes_of(const TensorView& codes) {
  std::vector<std::uint8_t> bytes;
  const std::int64_t row = (codes.shape[3] * bits_of(codes.dtype) + 7) / 8;
  for (std::int64_t i = 0; i < codes.shape[1]; ++i)
    for (std::int64_t j = 0; j < codes.shape[2]; ++j) {
      const auto* from = static_cast<const std::uint8_t*>(codes.data) +
                         (i * codes.strides[1] + j * codes.strides[2]) * bits_of(codes.dtype) / 8;
      bytes.insert(bytes.end(), from, from + row);
    }
  return bytes;
}

// The floats of all sequences, as the packed array beside the codes should hold them: written out from the shapes.
//   each [1, H, n, ...] -> in_rows ? [H, sum of n, ...] : [B, H, n, ...]
std::vector<float> joined(const std::vector<TensorView>& each, bool in_rows, std::int64_t head_count) {
  std::vector<float> all;
  const auto take = [&](const TensorView& side, std::int64_t head) {
    const std::int64_t count = side.elements() / head_count;
    const float* from = static_cast<const float*>(side.data) + head * count;
    all.insert(all.end(), from, from + count);
  };
  if (in_rows) {
    for (std::int64_t h = 0; h < head_count; ++h)
      for (const TensorView& side : each) take(side, h);
  } else {
    for (const TensorView& side : each)
      for (std::int64_t h = 0; h < head_count; ++h) take(side, h);
  }
  return all;
}

std::vector<float> floats_of(const TensorView& side) {
  const auto* from = static_cast<const float*>(side.data);
  return {from, from + side.elements()};
}

void expect_codes_of_each_sequence(const Recipe& recipe, const Pack& pack, const Execution& execution) {
  const Result<QuantizedTensor> whole =
      quantize(pack.view(), pack.role, recipe, pack.layout, execution, pack.cu_seqlens());
  if (!whole.ok()) {
    ASSERT_EQ(whole.status().code(), StatusCode::kUnimplemented) << whole.status().message();
    return;
  }
  const QuantizedView& view = whole->view();
  std::vector<QuantizedTensor> alone;
  std::vector<TensorView> scales, means;
  for (std::size_t b = 0; b < lengths(pack.role).size(); ++b) {
    const Result<QuantizedTensor> one = quantize(pack.sequence(b), pack.role, recipe, pack.layout, execution);
    ASSERT_TRUE(one.ok()) << one.status().message();
    alone.push_back(*one);
    if (one->view().scales.given()) scales.push_back(alone.back().view().scales);
    if (one->view().mean.given()) means.push_back(alone.back().view().mean);
    EXPECT_EQ(bytes_of(pack.sequence(view.codes, b)), bytes_of(one->view().codes)) << "codes of sequence " << b;
  }
  const Granularity granularity = pack.role == Role::q   ? recipe.q_scale
                                  : pack.role == Role::k ? recipe.k_scale
                                                         : recipe.v_scale;
  const bool in_rows = granularity != Granularity::tensor && granularity != Granularity::channel;
  EXPECT_EQ(view.scales.given(), !scales.empty());
  if (!scales.empty()) {
    EXPECT_EQ(floats_of(view.scales), joined(scales, in_rows, heads(pack.role))) << "scales";
  }
  EXPECT_EQ(view.mean.given(), !means.empty());
  if (!means.empty()) {
    EXPECT_EQ(floats_of(view.mean), joined(means, pack.role == Role::q, heads(pack.role))) << "means";
  }
  EXPECT_EQ(shape_string(view.cu_seqlens), shape_string(pack.cu_seqlens()));

  std::vector<float> back(pack.values.size()), expected(pack.values.size());
  const Status status = dequantize(view, pack.view(back.data(), DType::f32), execution);
  ASSERT_TRUE(status.ok()) << status.message();
  for (std::size_t b = 0; b < alone.size(); ++b)
    ASSERT_TRUE(dequantize(alone[b].view(), pack.sequence(pack.view(expected.data(), DType::f32), b), execution).ok());
  EXPECT_EQ(back, expected) << "dequantized";
}

TEST(PackedCodes, AreThoseOfEachSequence) {
  BackwardsRunner backwards;
  for (const std::string& text : recipe_texts()) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      for (Layout layout : {Layout::nhd, Layout::hnd}) {
        const Pack pack(role, layout, layout == Layout::nhd ? 19 : 32, 5);
        std::vector<std::string> names = supported_implementations();
        names.emplace_back("reference");
        for (const std::string& name : names) {
          SCOPED_TRACE(text + " " + std::string(to_string(role)) + " " + name);
          Execution execution;
          execution.implementation = name;
          execution.runner = &backwards;
          expect_codes_of_each_sequence(recipe_of(text), pack, execution);
        }
      }
    }
  }
}

TEST(PackedCodes, EverySequenceGetsTheBitsThatItGetsAlone) {
  ThreadsRunner three(3);
  for (const std::string& text : recipe_texts()) {
    const Recipe recipe = recipe_of(text);
    for (const std::string all : {"qkv", "kv", "q"}) {
      std::string codes;
      for (char letter : all)
        if (has_codes(recipe, letter)) codes += letter;
      if (codes.empty()) continue;
      const Layout layout = all == "kv" ? Layout::hnd : Layout::nhd;
      const Pack q(Role::q, layout, 24, 1), k(Role::k, layout, 24, 2), v(Role::v, layout, 17, 3);
      std::vector<std::string> names = supported_implementations();
      names.emplace_back("reference");
      for (const std::string& name : names) {
        SCOPED_TRACE(text + " codes " + codes + " on " + name);
        Execution execution;
        execution.implementation = name;
        execution.runner = &three;
        Operands pack(q, k, v, codes), each(q, k, v, codes);
        attend_to_the_pack(pack, recipe, execution);
        attend_to_each(each, recipe, execution);
        EXPECT_EQ(std::memcmp(pack.out.data(), each.out.data(), each.out.size() * 4), 0) << "O differs";
        EXPECT_EQ(std::memcmp(pack.lse.data(), each.lse.data(), each.lse.size() * 4), 0) << "LSE differs";
      }
    }
  }
}

// Where Q is not smoothed, codes are all that attention() makes of floats: handing them over changes no bit.
TEST(PackedCodes, AreTheBitsOfFloats) {
  for (const char* text : {"int8_fast,smooth_q=off", "int8_block", "int_flash", "sage1_int8", "sage2_8b", "fa3_fp8"}) {
    const Recipe recipe = recipe_of(text);
    const Pack q(Role::q, Layout::nhd, 24, 1), k(Role::k, Layout::nhd, 24, 2), v(Role::v, Layout::nhd, 17, 3);
    for (const std::string& name : supported_implementations()) {
      SCOPED_TRACE(std::string(text) + " on " + name);
      Execution execution;
      execution.implementation = name;
      Operands codes(q, k, v, "kv"), floats(q, k, v, "");
      attend_to_the_pack(codes, recipe, execution);
      attend_to_the_pack(floats, recipe, execution);
      EXPECT_EQ(std::memcmp(codes.out.data(), floats.out.data(), floats.out.size() * 4), 0) << "O differs";
      EXPECT_EQ(std::memcmp(codes.lse.data(), floats.lse.data(), floats.lse.size() * 4), 0) << "LSE differs";
    }
  }
}

}  // namespace
}  // namespace octavo::test
