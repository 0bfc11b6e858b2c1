// Two passes over a row's scores (maximum, then weights), no blocks and no running state: nothing in common with the
// online softmax it checks. K is transposed so that the inner loops run over contiguous doubles.
#include "common/exact_attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/attention_rows.hpp"
#include "common/elements.hpp"

namespace octavo::tool {
namespace {

// One row: q [D], kt [D, N], v [N, Dv] -> out [Dv] and the LSE; the first `keys` keys are visible; s is scratch [N].
double attend(const double* q, const double* kt, const double* v, double* out, double* s, std::int64_t keys,
              std::int64_t rows, std::int64_t dim, std::int64_t value_dim, double scale) {
  std::fill(out, out + value_dim, 0.0);
  if (keys <= 0) return -std::numeric_limits<double>::infinity();
  std::fill(s, s + keys, 0.0);
  for (std::int64_t d = 0; d < dim; ++d) {
    for (std::int64_t j = 0; j < keys; ++j) s[j] += q[d] * kt[d * rows + j];
  }
  double largest = -std::numeric_limits<double>::infinity();
  for (std::int64_t j = 0; j < keys; ++j) largest = std::max(largest, s[j] *= scale);
  double sum = 0;
  for (std::int64_t j = 0; j < keys; ++j) {
    const double p = std::exp(s[j] - largest);
    sum += p;
    for (std::int64_t d = 0; d < value_dim; ++d) out[d] += p * v[j * value_dim + d];
  }
  for (std::int64_t d = 0; d < value_dim; ++d) out[d] /= sum;
  return largest + std::log(sum);
}

}  // namespace

std::vector<double> exact_attention(const TensorView& q, const TensorView& k, const TensorView& v, double scale,
                                    bool causal, std::vector<double>* lse) {
  const std::int64_t heads = q.shape[0], q_rows = q.shape[1], dim = q.shape[2];
  const std::int64_t kv_heads = k.shape[0], k_rows = k.shape[1], value_dim = v.shape[2];
  const std::vector<double> queries = to_f64(q), values = to_f64(v);
  const std::vector<double> keys = by_channel(to_f64(k), kv_heads, k_rows, dim);
  std::vector<double> out(static_cast<std::size_t>(heads * q_rows * value_dim));
  if (lse != nullptr) lse->resize(static_cast<std::size_t>(heads * q_rows));
  for_each_row<double>(heads, q_rows, k_rows, [&](std::int64_t h, std::int64_t i, double* scores) {
    const std::int64_t kv = h / (heads / kv_heads);
    const double row_lse = attend(&queries[static_cast<std::size_t>((h * q_rows + i) * dim)],
                                  &keys[static_cast<std::size_t>(kv * dim * k_rows)],
                                  &values[static_cast<std::size_t>(kv * k_rows * value_dim)],
                                  &out[static_cast<std::size_t>((h * q_rows + i) * value_dim)], scores,
                                  visible_keys(i, q_rows, k_rows, causal), k_rows, dim, value_dim, scale);
    if (lse != nullptr) (*lse)[static_cast<std::size_t>(h * q_rows + i)] = row_lse;
  });
  return out;
}

}  // namespace octavo::tool
