#include "attention_in_double.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace octavo::test {
namespace {

double dot(const float* a, const float* b, std::int64_t count) {
  double sums[4] = {};  // four independent sums: the gates compute a million of these
  std::int64_t c = 0;
  for (; c + 4 <= count; c += 4)
    for (int u = 0; u < 4; ++u) sums[u] += static_cast<double>(a[c + u]) * b[c + u];
  for (; c < count; ++c) sums[0] += static_cast<double>(a[c]) * b[c];
  return sums[0] + sums[1] + sums[2] + sums[3];
}

// Score of query row i and key j in natural units, -inf where the key is hidden.
double score_of(const HeadView& head, const HeadOptions& o, std::int64_t i, std::int64_t j) {
  const std::int64_t diagonal = o.causal == Causal::top_left ? i : i + head.n - head.m;
  if (o.causal != Causal::none && j > diagonal) return -INFINITY;
  if (o.window_left >= 0 && j < diagonal - o.window_left) return -INFINITY;
  if (o.window_right >= 0 && j > diagonal + o.window_right) return -INFINITY;
  if (o.bool_mask != nullptr && o.bool_mask[i * o.mask_stride + j] == 0) return -INFINITY;
  double s = dot(head.q + i * head.d, head.k + j * head.d, head.d) / std::sqrt(static_cast<double>(head.d));
  if (o.softcap > 0) s = o.softcap * std::tanh(s / o.softcap);
  if (o.float_mask != nullptr) s += o.float_mask[i * o.mask_stride + j];
  const auto offset = static_cast<double>(j - diagonal);
  return s + o.alibi_slope * (o.symmetric_alibi ? -std::abs(offset) : offset);
}

}  // namespace

std::vector<std::int64_t> all_rows(std::int64_t count) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

HeadResult attention_in_double(const HeadView& head, const HeadOptions& options,
                               const std::vector<std::int64_t>& rows) {
  HeadResult result;
  std::vector<double> scores(static_cast<std::size_t>(head.n));
  for (std::int64_t i : rows) {
    double row_max = options.sink.value_or(-INFINITY);
    for (std::int64_t j = 0; j < head.n; ++j) {
      const double s = scores[static_cast<std::size_t>(j)] = score_of(head, options, i, j);
      row_max = std::max(row_max, s);
    }
    std::vector<double> row(static_cast<std::size_t>(head.dv), 0.0);
    double row_sum = 0;
    if (row_max > -INFINITY) {
      if (options.sink) row_sum += std::exp(*options.sink - row_max);
      for (std::int64_t j = 0; j < head.n; ++j) {
        const double p = std::exp(scores[static_cast<std::size_t>(j)] - row_max);
        if (p == 0) continue;
        row_sum += p;
        for (std::size_t c = 0; c < row.size(); ++c) row[c] += p * head.v[static_cast<std::size_t>(j * head.dv) + c];
      }
      for (double& x : row) x /= row_sum;
    }
    result.out.insert(result.out.end(), row.begin(), row.end());
    result.lse.push_back(row_max > -INFINITY ? row_max + std::log(row_sum) : -INFINITY);
  }
  return result;
}

double error_of_rows(const float* out, const std::vector<std::int64_t>& rows, const std::vector<double>& expected) {
  const std::size_t dv = rows.empty() ? 0 : expected.size() / rows.size();
  double squares = 0, norm = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < dv; ++c) {
      const double e = expected[r * dv + c], got = out[static_cast<std::size_t>(rows[r]) * dv + c];
      squares += (got - e) * (got - e);
      norm += e * e;
    }
  }
  return std::sqrt(squares / norm);
}

}  // namespace octavo::test
