// Packed sequences of Q, K and V, their codes, and attention() on them: the whole pack in one call, or each sequence
// alone.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "octavo/octavo.hpp"

namespace octavo::test {

// Around every width of a group, and nothing at all.
inline const std::vector<std::int64_t> kQueries = {0, 5, 130, 0, 33, 64};
inline const std::vector<std::int64_t> kKeys = {3, 129, 70, 0, 64, 200};
inline constexpr std::int64_t kHeads = 4, kKvHeads = 2;

inline const std::vector<std::int64_t>& lengths(Role role) { return role == Role::q ? kQueries : kKeys; }
inline std::int64_t heads(Role role) { return role == Role::q ? kHeads : kKvHeads; }
inline std::int64_t total(Role role) {
  return std::accumulate(lengths(role).begin(), lengths(role).end(), std::int64_t{0});
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

inline AttentionParams causal(const Recipe& recipe) {
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

// octavo::attention, or the same on a device.
using Attend = Status (*)(const AttentionInputs&, const AttentionParams&, const Execution&);
inline Status attend_here(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution) {
  return attention(inputs, params, execution);
}
// Codes are made on the host, by the implementation that attends if it can.
inline Execution coder(const Execution& execution, Attend attend) {
  return attend == &attend_here ? execution : Execution{};
}

inline void attend_to_the_pack(Operands& o, const Recipe& recipe, const Execution& execution,
                               Attend attend = &attend_here) {
  AttentionInputs inputs;
  QuantizedTensor made[3];
  give(o, recipe, coder(execution, attend), true, [](const Pack& pack) { return pack.view(); }, inputs, made);
  inputs.out = o.out_view();
  inputs.lse = {o.lse.data(), DType::f32, {kHeads, total(Role::q)}};
  inputs.cu_seqlens_q = o.q.cu_seqlens();
  inputs.cu_seqlens_k = o.k.cu_seqlens();
  const Status status = attend(inputs, causal(recipe), execution);
  ASSERT_TRUE(status.ok()) << status.message();
}

inline void attend_to_each(Operands& o, const Recipe& recipe, const Execution& execution,
                           Attend attend = &attend_here) {
  for (std::size_t b = 0; b < kQueries.size(); ++b) {
    AttentionInputs inputs;
    QuantizedTensor made[3];
    give(o, recipe, coder(execution, attend), false, [b](const Pack& pack) { return pack.sequence(b); }, inputs, made);
    inputs.out = o.q.sequence(o.out_view(), b);
    inputs.lse = {o.lse.data() + o.q.borders[b], DType::f32, {1, kHeads, kQueries[b]}, {0, total(Role::q), 1}};
    const Status status = attend(inputs, causal(recipe), execution);
    ASSERT_TRUE(status.ok()) << status.message();
  }
}

inline bool has_codes(const Recipe& recipe, char letter) {
  const Format format = letter == 'v' ? recipe.values : recipe.scores;
  return format != Format::input && format != Format::f16;
}

}  // namespace octavo::test
