// Small attention problems for the tests of the reference: random f32 tensors, a Problem over them, and the relative
// error of results.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include "core/problem.hpp"
#include "reference/reference.hpp"

namespace octavo::reference {

struct Case {
  std::int64_t batch = 1, q_heads = 1, kv_heads = 1, m = 1, n = 1, d = 16, dv = 16;
  std::vector<float> q, k, v;  // [B, H, rows, D]
  Problem problem;
  std::vector<float> out, lse;

  Case(std::int64_t m_, std::int64_t n_, std::int64_t d_, std::int64_t dv_ = 0, std::uint32_t seed = 1,
       std::int64_t batch_ = 1, std::int64_t q_heads_ = 1, std::int64_t kv_heads_ = 1)
      : batch(batch_), q_heads(q_heads_), kv_heads(kv_heads_), m(m_), n(n_), d(d_), dv(dv_ == 0 ? d_ : dv_) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& x, std::int64_t count) {
      x.resize(static_cast<std::size_t>(count));
      for (float& value : x) value = normal(random);
    };
    fill(q, batch * q_heads * m * d);
    fill(k, batch * kv_heads * n * d);
    fill(v, batch * kv_heads * n * dv);
    out.assign(static_cast<std::size_t>(batch * q_heads * m * dv), -7.0f);
    lse.assign(static_cast<std::size_t>(batch * q_heads * m), -7.0f);
  }
  Case(const Case&) = delete;

  float* k_row(std::int64_t row, std::int64_t head = 0) { return k.data() + (head * n + row) * d; }
  float* v_row(std::int64_t row, std::int64_t head = 0) { return v.data() + (head * n + row) * dv; }
  float* q_row(std::int64_t row, std::int64_t head = 0) { return q.data() + (head * m + row) * d; }

  static Operand operand(const float* data, std::int64_t heads, std::int64_t rows, std::int64_t dim) {
    Operand result;
    result.data = const_cast<float*>(data);
    result.strides = {heads * rows * dim, rows * dim, dim, 1};
    return result;
  }

  // Runs the reference with a recipe's text; other fields of `problem` are kept.
  const std::vector<float>& run(std::string_view recipe) {
    Result<Recipe> parsed = parse_recipe(recipe);
    if (!parsed.ok()) throw std::runtime_error(parsed.status().message());
    problem.recipe = *parsed;
    problem.batch = batch;
    problem.q_heads = q_heads;
    problem.kv_heads = kv_heads;
    problem.q_rows = m;
    problem.k_rows = n;
    problem.head_dim = d;
    problem.value_dim = dv;
    if (!problem.q.quantized) problem.q = operand(q.data(), q_heads, m, d);
    if (!problem.k.quantized) problem.k = operand(k.data(), kv_heads, n, d);
    if (!problem.v.quantized) problem.v = operand(v.data(), kv_heads, n, dv);
    problem.out = operand(out.data(), q_heads, m, dv);
    problem.lse = lse.data();
    problem.lse_strides = {q_heads * m, m, 1};
    if (!scale_is_set) problem.softmax_scale = 1.0 / std::sqrt(static_cast<double>(d));
    if (Status status = supports(problem); !status.ok()) throw std::runtime_error(status.message());
    attention(problem);
    return out;
  }
  bool scale_is_set = false;
};

// A boolean or f32 mask [M, N] shared by batch and heads.
inline Broadcast shared_mask(const void* data, DType dtype, std::int64_t n) {
  Broadcast mask;
  mask.data = data;
  mask.dtype = dtype;
  mask.strides = {0, 0, n, 1};
  return mask;
}

inline double relative_l2(const std::vector<float>& x, const std::vector<double>& expected) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += (x[i] - expected[i]) * (x[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(error / norm);
}
inline std::vector<double> as_double(const std::vector<float>& x) { return {x.begin(), x.end()}; }

}  // namespace octavo::reference
