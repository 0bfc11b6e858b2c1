#include "truth.hpp"

#include <algorithm>
#include <cmath>

namespace octavo::test {

std::vector<double> attention_in_double(const HeadView& head, bool causal, const std::vector<std::int64_t>& rows) {
  std::vector<double> out, weights(static_cast<std::size_t>(head.n));
  const double scale = 1 / std::sqrt(static_cast<double>(head.d));
  for (std::int64_t i : rows) {
    const float* q = head.q + i * head.d;
    const std::int64_t keys = causal ? std::min(head.n, i + head.n - head.m + 1) : head.n;
    double most = -INFINITY;
    for (std::int64_t j = 0; j < keys; ++j) {
      const float* k = head.k + j * head.d;
      double sums[4] = {};
      std::int64_t c = 0;
      for (; c + 4 <= head.d; c += 4)
        for (int u = 0; u < 4; ++u) sums[u] += static_cast<double>(q[c + u]) * k[c + u];
      for (; c < head.d; ++c) sums[0] += static_cast<double>(q[c]) * k[c];
      weights[static_cast<std::size_t>(j)] = scale * (sums[0] + sums[1] + sums[2] + sums[3]);
      most = std::max(most, weights[static_cast<std::size_t>(j)]);
    }
    std::vector<double> row(static_cast<std::size_t>(head.dv), 0.0);
    double sum = 0;
    for (std::int64_t j = 0; j < keys; ++j) {
      const double weight = std::exp(weights[static_cast<std::size_t>(j)] - most);
      sum += weight;
      for (std::size_t c = 0; c < row.size(); ++c) row[c] += weight * head.v[static_cast<std::size_t>(j * head.dv) + c];
    }
    for (double x : row) out.push_back(x / sum);
  }
  return out;
}

double error_of_rows(const float* out, const std::vector<std::int64_t>& rows, const std::vector<double>& truth) {
  const std::size_t dv = rows.empty() ? 0 : truth.size() / rows.size();
  double squares = 0, norm = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < dv; ++c) {
      const double expected = truth[r * dv + c], got = out[static_cast<std::size_t>(rows[r]) * dv + c];
      squares += (got - expected) * (got - expected);
      norm += expected * expected;
    }
  }
  return std::sqrt(squares / norm);
}

}  // namespace octavo::test
