// Two passes over a row's scores, as exact_attention.cpp; weights relative to the row's final maximum.
#include "common/bf16_attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/attention_rows.hpp"
#include "common/elements.hpp"

namespace octavo::tool {
namespace {

float to_bf16(float value) { return bf16_to_f32(f32_to_bf16(value)); }

std::vector<float> rounded(const TensorView& view) {
  const std::vector<double> values = to_f64(view);
  std::vector<float> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(),
                 [](double value) { return to_bf16(static_cast<float>(value)); });
  return result;
}

// One row: q [D], kt [D, N], v [N, Dv] -> out [Dv]; the first `keys` keys are visible; s is scratch [N].
void attend(const float* q, const float* kt, const float* v, float* out, float* s, std::int64_t keys, std::int64_t rows,
            std::int64_t dim, std::int64_t value_dim, float scale) {
  std::fill(out, out + value_dim, 0.0f);
  if (keys <= 0) return;
  std::fill(s, s + keys, 0.0f);
  for (std::int64_t d = 0; d < dim; ++d) {
    for (std::int64_t j = 0; j < keys; ++j) s[j] += q[d] * kt[d * rows + j];
  }
  float largest = -std::numeric_limits<float>::infinity();
  for (std::int64_t j = 0; j < keys; ++j) largest = std::max(largest, s[j] *= scale);
  float sum = 0;
  for (std::int64_t j = 0; j < keys; ++j) {
    const float weight = std::exp(s[j] - largest), p = to_bf16(weight);
    sum += weight;
    for (std::int64_t d = 0; d < value_dim; ++d) out[d] += p * v[j * value_dim + d];
  }
  for (std::int64_t d = 0; d < value_dim; ++d) out[d] = to_bf16(out[d] / sum);
}

}  // namespace

std::vector<float> bf16_attention(const TensorView& q, const TensorView& k, const TensorView& v, float scale,
                                  bool causal) {
  const std::int64_t heads = q.shape[0], q_rows = q.shape[1], dim = q.shape[2];
  const std::int64_t kv_heads = k.shape[0], k_rows = k.shape[1], value_dim = v.shape[2];
  const std::vector<float> queries = rounded(q), values = rounded(v);
  const std::vector<float> keys = by_channel(rounded(k), kv_heads, k_rows, dim);
  std::vector<float> out(static_cast<std::size_t>(heads * q_rows * value_dim));
  for_each_row<float>(heads, q_rows, k_rows, [&](std::int64_t h, std::int64_t i, float* scores) {
    const std::int64_t kv = h / (heads / kv_heads);
    attend(&queries[static_cast<std::size_t>((h * q_rows + i) * dim)],
           &keys[static_cast<std::size_t>(kv * dim * k_rows)],
           &values[static_cast<std::size_t>(kv * k_rows * value_dim)],
           &out[static_cast<std::size_t>((h * q_rows + i) * value_dim)], scores,
           visible_keys(i, q_rows, k_rows, causal), k_rows, dim, value_dim, scale);
  });
  return out;
}

}  // namespace octavo::tool
