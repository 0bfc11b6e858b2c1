// Packed sequences as codes: what quantize() makes of a pack is what it makes of each sequence alone, each in its
// place, and attention() on the pack gives every sequence the bits that it gets alone.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>

#include "octavo/octavo.hpp"
#include "runners.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

// Around every width of a group, and nothing at all.
const std::vector<std::int64_t> kQueries = {0, 5, 130, 0, 33, 64};
const std::vector<std::int64_t> kKeys = {3, 129, 70, 0, 64, 200};
constexpr std::int64_t kHeads = 4, kKvHeads = 2;

const std::vector<std::int64_t>& lengths(Role role) { return role == Role::q ? kQueries : kKeys; }
std::int64_t heads(Role role) { return role == Role::q ? kHeads : kKvHeads; }
std::int64_t total(Role role) { return std::accumulate(lengths(role).begin(), lengths(role).end(), std::int64_t{0}); }

std::vector<std::string> recipe_texts() {
  std::vector<std::string> texts;
  for (const RecipeInfo& info : recipes()) texts.emplace_back(info.name);
  for (const char* more :
       {"int8_fast,q_scale=warp,k_scale=warp", "int8_fast,q_scale=tensor,k_scale=tensor,v_scale=token",
        "int8_fast,v_scale=channel,smooth_v=on", "int4,v_scale=block,key_block=64"})
    texts.emplace_back(more);
  return texts;
}

// Floats of one operand, packed [total, heads, dim] or [heads, total, dim], with the views of its sequences.
struct Pack {
  Role role;
  Layout layout;
  std::int64_t dim;
  std::vector<float> values;
  std::vector<std::int64_t> borders;

  Pack(Role of, Layout order, std::int64_t channels, std::uint32_t seed) : role(of), layout(order), dim(channels) {
    borders.push_back(0);
    for (std::int64_t rows : lengths(role)) borders.push_back(borders.back() + rows);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    values.resize(static_cast<std::size_t>(total(role) * heads(role) * dim));
    for (float& x : values) x = normal(random);
  }
  TensorView view(const void* data, DType dtype) const {
    return layout == Layout::nhd ? TensorView(data, dtype, {total(role), heads(role), dim})
                                 : TensorView(data, dtype, {heads(role), total(role), dim});
  }
  TensorView view() const { return view(values.data(), DType::f32); }
  TensorView cu_seqlens() const { return {borders.data(), DType::s64, {static_cast<std::int64_t>(borders.size())}}; }
  // Sequence b of a tensor that is packed like this one, with a batch axis of 1.
  TensorView sequence(const TensorView& packed, std::size_t b) const {
    const std::size_t rows = layout == Layout::nhd ? 0 : 1;
    TensorView part = packed;
    part.rank = 4;
    part.shape = {1, packed.shape[0], packed.shape[1], packed.shape[2]};
    part.strides = {0, packed.strides[0], packed.strides[1], packed.strides[2]};
    part.shape[rows + 1] = lengths(role)[b];
    part.data = static_cast<char*>(packed.data) + borders[b] * packed.strides[rows] * bits_of(packed.dtype) / 8;
    return part;
  }
  TensorView sequence(std::size_t b) const { return sequence(view(), b); }
};

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

// One call's operands; those of `in_codes` ("qkv") as codes.
struct Operands {
  const Pack &q, &k, &v;
  std::string in_codes;
  std::vector<float> out, lse;

  Operands(const Pack& of_q, const Pack& of_k, const Pack& of_v, std::string codes)
      : q(of_q),
        k(of_k),
        v(of_v),
        in_codes(std::move(codes)),
        out(static_cast<std::size_t>(total(Role::q) * kHeads * of_v.dim), -77.0f),
        lse(static_cast<std::size_t>(kHeads * total(Role::q)), -77.0f) {}
  bool codes(char role) const { return in_codes.find(role) != std::string::npos; }
  TensorView out_view() const {
    return q.layout == Layout::nhd ? TensorView(out.data(), DType::f32, {total(Role::q), kHeads, v.dim})
                                   : TensorView(out.data(), DType::f32, {kHeads, total(Role::q), v.dim});
  }
};

AttentionParams causal(const Recipe& recipe) {
  AttentionParams params;
  params.recipe = recipe;
  params.causal = Causal::bottom_right;
  return params;
}

// Hands view_of(pack) of each operand to the call, as floats or as codes, which are kept in `made`.
template <class View>
void give(const Operands& o, const Recipe& recipe, const Execution& execution, bool packed, const View& view_of,
          AttentionInputs& inputs, QuantizedTensor (&made)[3]) {
  const auto give_one = [&](const Pack& pack, char letter, TensorView& floats, const QuantizedView*& codes, int i) {
    if (!o.codes(letter)) {
      floats = view_of(pack);
      return;
    }
    const Result<QuantizedTensor> q =
        quantize(view_of(pack), pack.role, recipe, pack.layout, execution, packed ? pack.cu_seqlens() : TensorView());
    ASSERT_TRUE(q.ok()) << q.status().message();
    made[i] = *q;
    codes = &made[i].view();
  };
  give_one(o.q, 'q', inputs.q, inputs.quantized_q, 0);
  give_one(o.k, 'k', inputs.k, inputs.quantized_k, 1);
  give_one(o.v, 'v', inputs.v, inputs.quantized_v, 2);
  inputs.layout = o.q.layout;
}

void attend_to_the_pack(Operands& o, const Recipe& recipe, const Execution& execution) {
  AttentionInputs inputs;
  QuantizedTensor made[3];
  give(o, recipe, execution, true, [](const Pack& pack) { return pack.view(); }, inputs, made);
  inputs.out = o.out_view();
  inputs.lse = {o.lse.data(), DType::f32, {kHeads, total(Role::q)}};
  inputs.cu_seqlens_q = o.q.cu_seqlens();
  inputs.cu_seqlens_k = o.k.cu_seqlens();
  const Status status = attention(inputs, causal(recipe), execution);
  ASSERT_TRUE(status.ok()) << status.message();
}

void attend_to_each(Operands& o, const Recipe& recipe, const Execution& execution) {
  for (std::size_t b = 0; b < kQueries.size(); ++b) {
    AttentionInputs inputs;
    QuantizedTensor made[3];
    give(o, recipe, execution, false, [b](const Pack& pack) { return pack.sequence(b); }, inputs, made);
    inputs.out = o.q.sequence(o.out_view(), b);
    inputs.lse = {o.lse.data() + o.q.borders[b], DType::f32, {1, kHeads, kQueries[b]}, {0, total(Role::q), 1}};
    const Status status = attention(inputs, causal(recipe), execution);
    ASSERT_TRUE(status.ok()) << status.message();
  }
}

bool has_codes(const Recipe& recipe, char letter) {
  const Format format = letter == 'v' ? recipe.values : recipe.scores;
  return format != Format::input && format != Format::f16;
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
