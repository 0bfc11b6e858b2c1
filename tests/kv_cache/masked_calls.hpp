// Random calls of attention over a key-value cache with masks, ALiBi, sinks and packed queries, and what they are over.
#pragma once

#include <random>

#include "cases.hpp"

namespace octavo::test {

using Bytes = std::vector<std::uint8_t>;

template <class T>
T any(std::mt19937& random, std::initializer_list<T> values) {
  return *(values.begin() + static_cast<std::ptrdiff_t>(random() % values.size()));
}

inline TensorView booleans(const Bytes& values, std::initializer_list<std::int64_t> shape) {
  return {values.data(), DType::boolean, shape};
}
inline TensorView integers(const std::vector<std::int64_t>& values) {
  return {values.data(), DType::s64, {static_cast<std::int64_t>(values.size())}};
}

inline Bytes draw_booleans(std::mt19937& random, std::int64_t count, unsigned one_in) {
  Bytes values(static_cast<std::size_t>(count));
  for (std::uint8_t& value : values) value = random() % one_in != 0 ? 1 : 0;
  return values;
}

// Ancestors of each draft, itself included, in an order where parents come first.
inline Bytes draw_tree(std::mt19937& random, std::int64_t drafts) {
  Bytes mask(static_cast<std::size_t>(drafts * drafts), 0);
  for (std::int64_t i = 0; i < drafts; ++i) {
    const std::int64_t parent = static_cast<std::int64_t>(random() % static_cast<unsigned>(i + 1)) - 1;  // -1: a root
    for (std::int64_t c = 0; parent >= 0 && c < i; ++c)
      mask[static_cast<std::size_t>(i * drafts + c)] = mask[static_cast<std::size_t>(parent * drafts + c)];
    mask[static_cast<std::size_t>(i * drafts + i)] = 1;
  }
  return mask;
}

inline std::string text_of(const std::vector<std::int64_t>& numbers) {
  std::string text = "[";
  for (const std::int64_t number : numbers) text += (text.size() > 1 ? ", " : "") + std::to_string(number);
  return text + "]";
}

struct MaskedCase {
  KVCacheOptions options;
  std::int64_t group = 1;
  std::vector<std::int64_t> lengths, begins{0};  // of the sequences; of their query rows
  bool packed = false;
  CacheAttentionParams params;
  std::int64_t longest_rows = 0, longest_keys = 0;

  std::string describe() const {
    return std::string(to_string(options.format)) + " batch " + std::to_string(options.batch) + " heads " +
           std::to_string(options.kv_heads) + " x " + std::to_string(group) + " D " + std::to_string(options.head_dim) +
           " rows " + text_of(begins) + " keys " + text_of(lengths) + " packed " + std::to_string(packed) + " causal " +
           std::to_string(params.causal) + " window " + std::to_string(params.window_left) + " softcap " +
           std::to_string(params.softcap);
  }
};

inline MaskedCase draw_masked_case(std::mt19937& random) {
  MaskedCase c;
  c.options.batch = any<std::int64_t>(random, {1, 2, 3});
  c.options.kv_heads = any<std::int64_t>(random, {1, 2});
  c.options.head_dim = any<std::int64_t>(random, {8, 40, 64});
  c.options.value_head_dim = any<std::int64_t>(random, {16, 40});
  c.options.format = any<DType>(random, {DType::s8, DType::s8, DType::s4, DType::e4m3, DType::f32, DType::f16});
  c.options.kept_keys = random() % 3 != 0;
  if (random() % 2 == 0) c.options.page_size = any<std::int64_t>(random, {16, 64});
  c.group = any<std::int64_t>(random, {1, 3, 4});
  c.packed = random() % 2 == 0;
  for (std::int64_t b = 0; b < c.options.batch; ++b) {
    c.lengths.push_back(any<std::int64_t>(random, {0, 3, 64, 100, 129, 300}));
    const std::int64_t rows = any<std::int64_t>(random, {0, 1, 1, 2, 7, 33});
    c.begins.push_back(c.begins.back() + (c.packed || b == 0 ? rows : c.begins[1]));
    c.longest_rows = std::max(c.longest_rows, c.begins.back() - c.begins[static_cast<std::size_t>(b)]);
    c.longest_keys = std::max(c.longest_keys, c.lengths.back());
  }
  c.options.capacity = 320;
  c.params.causal = random() % 4 != 0;
  if (random() % 4 == 0) c.params.window_left = any<std::int64_t>(random, {3, 100});
  if (random() % 4 == 0) c.params.softcap = any<double>(random, {0.5, 20.0});
  return c;
}

// A case with its rows and the call. Not to be copied: the query's views lead to its members.
struct MaskedCall {
  MaskedCase c;
  std::int64_t batch, heads, total, m, n;
  Rows k, v, q, sinks, slopes, added;
  Bytes shown, exist, tree, trees;
  CacheQuery query;
  CacheAttentionParams params;
  std::string description;

  MaskedCall(const MaskedCase& drawn, std::mt19937& random, std::uint32_t seed)
      : c(drawn),
        batch(c.options.batch),
        heads(c.options.kv_heads * c.group),
        total(c.begins.back()),
        m(c.longest_rows),
        n(c.longest_keys),
        k(batch, 300, c.options.kv_heads, c.options.head_dim, seed, DType::f16, 2),
        v(batch, 300, c.options.kv_heads, c.options.value_head_dim, seed + 1, DType::f16),
        q(c.packed ? 1 : batch, c.packed ? total : m, heads, c.options.head_dim, seed + 2, DType::f16),
        sinks(1, 1, 1, heads, seed + 3),
        slopes(1, 1, batch, heads, seed + 4),
        added(batch, heads, m, n, seed + 5, any<DType>(random, {DType::f32, DType::f16, DType::bf16})),
        params(c.params),
        description(c.describe()) {
    const bool far_below = random() % 4 == 0;
    for (float& x : added.values) x = random() % 5 == 0 ? -INFINITY : far_below ? x - 1e3f : x;
    added.store();
    shown = draw_booleans(random, batch * heads * (m + 1) * n, 4), exist = draw_booleans(random, batch * n, 4);
    tree = draw_tree(random, m), trees = draw_booleans(random, batch * m * m, 3);
    query.q = q.view();
    if (c.packed) {
      query.q = {q.bytes.data(), DType::f16, {total, heads, c.options.head_dim}};
      query.cu_seqlens_q = integers(c.begins);
    }
    add_masks(random);
  }
  MaskedCall(const MaskedCall&) = delete;
  MaskedCall& operator=(const MaskedCall&) = delete;

 private:
  void add_masks(std::mt19937& random) {
    switch (random() % 6) {
      case 0:
        query.mask = {added.bytes.data(), added.dtype, {batch, heads, m, n}};
        description += " added";
        break;
      case 1:
        query.mask = {added.bytes.data(), added.dtype, {m, n}};
        description += " added to all";
        break;
      case 2:
        query.mask = booleans(shown, {batch, 1, 1, n});
        description += " shown";
        break;
      case 3:
        query.mask = booleans(shown, {heads, m, n});
        description += " shown by head";
        break;
      default:
        break;
    }
    if (random() % 3 == 0) query.key_mask = booleans(exist, {batch, n}), description += " exist";
    if (random() % 3 == 0)
      query.tree_mask = booleans(tree, {m, m}), description += " tree";
    else if (random() % 3 == 0)
      query.tree_mask = booleans(trees, {batch, m, m}), description += " trees";
    if (random() % 3 == 0) {
      query.alibi_slopes = {slopes.bytes.data(), DType::f32, {batch, heads}};
      params.alibi = any<Alibi>(random, {Alibi::causal, Alibi::symmetric});
      description += " alibi";
    }
    if (random() % 4 == 0) query.sinks = {sinks.bytes.data(), DType::f32, {heads}}, description += " sinks";
  }
};

}  // namespace octavo::test
