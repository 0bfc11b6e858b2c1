// Keys that do not exist, by kv_lens and key_mask, for quantize(): recipes, lengths and masks, and tensors with junk in
// the rows that these exclude.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "octavo/tensor_view.hpp"
#include "tensor.hpp"

namespace octavo::test {

inline constexpr const char* kPaddedRecipes[] = {"int8_fast,robust=off",
                                                 "int8_fast",
                                                 "int4",
                                                 "int8_block",
                                                 "int8_block,robust=off",
                                                 "int_flash",
                                                 "int_flash_block_v",
                                                 "int_flash_int4",
                                                 "sage1",
                                                 "sage1_int8",
                                                 "sage2_8b",
                                                 "fa3_fp8",
                                                 "fp8_e4m3",
                                                 "fp8_e5m2",
                                                 "int8_fast,v_scale=token,smooth_v=on",
                                                 "int8_fast,v_scale=channel,smooth_v=on",
                                                 "int8_fast,v_scale=block,key_block=256",
                                                 "int8_fast,k_scale=tensor,v_scale=tensor",
                                                 "int8_fast,q_scale=warp,k_scale=warp"};

struct Padding {
  std::vector<std::int32_t> lens;     // [B], or empty
  std::vector<unsigned char> exists;  // [B][N], or empty
  std::int64_t batch, rows;

  bool has(std::int64_t b, std::int64_t key) const {
    if (!lens.empty() && key >= lens[static_cast<std::size_t>(b)]) return false;
    return exists.empty() || exists[static_cast<std::size_t>(b * rows + key)] != 0;
  }
  TensorView kv_lens() const { return lens.empty() ? TensorView{} : TensorView(lens.data(), DType::s32, {batch}); }
  TensorView key_mask() const {
    return exists.empty() ? TensorView{} : TensorView(exists.data(), DType::boolean, {batch, rows});
  }
};

// kind 0: lengths; 1: a mask; 2: both; 3: no key at all in the first sequence.
inline Padding padding_of(int kind, std::int64_t batch, std::int64_t rows, std::mt19937& random) {
  Padding padding{{}, {}, batch, rows};
  for (std::int64_t b = 0; kind != 1 && b < batch; ++b)
    padding.lens.push_back(kind == 3 && b == 0 ? 0 : static_cast<std::int32_t>(rows - rows / 3 * b - 1));
  for (std::int64_t i = 0; (kind == 1 || kind == 2) && i < batch * rows; ++i)
    padding.exists.push_back(i % rows > 3 && random() % 4 != 0);
  return padding;
}

inline Tensor padded_tensor(std::vector<float> values, const Extents& e, DType dtype, const Placement& place,
                            const Padding& padding, float junk) {
  for (std::int64_t row = 0; row < e.batch * e.heads * e.rows; ++row) {
    if (padding.has(row / (e.heads * e.rows), row % e.rows)) continue;
    std::fill_n(values.begin() + row * e.dim, e.dim, junk);
  }
  Tensor x(dtype, e, place);
  x.fill(values);
  return x;
}

inline std::vector<float> normal_values(std::int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& x : values) x = normal(random);
  return values;
}

// Operands of 2 sequences of 150 keys, some of which do not exist: K then holds 1e4, V NaN. Q has 20 rows in 2 heads.
struct PaddedOperands {
  Extents q_extents{2, 2, 20, 32}, k_extents{2, 1, 150, 32};
  Padding padding;
  Tensor q, k, v;

  explicit PaddedOperands(int kind) : PaddedOperands(kind, std::mt19937(static_cast<std::uint32_t>(kind))) {}

 private:
  PaddedOperands(int kind, std::mt19937 random)
      : padding(padding_of(kind, k_extents.batch, k_extents.rows, random)),
        q(DType::f32, q_extents, {}),
        k(padded_tensor(normal_values(k_extents.elements(), random), k_extents, DType::f32, {}, padding, 1e4f)),
        v(padded_tensor(normal_values(k_extents.elements(), random), k_extents, DType::f32, {}, padding,
                        std::numeric_limits<float>::quiet_NaN())) {
    q.fill(normal_values(q_extents.elements(), random));
  }
};

inline constexpr float kJunk[] = {
    0, 1, 100, 1e20f, 3e38f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};

}  // namespace octavo::test
