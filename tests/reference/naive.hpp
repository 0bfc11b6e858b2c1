// Attention from its definition, one score at a time: the truth for `exact` and the yardstick of every other recipe.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cases.hpp"

namespace octavo::reference {

struct NaiveResult {
  std::vector<double> out, lse;
};

// What the naive attention knows beside the tensors; everything optional.
struct NaiveOptions {
  int causal = 0;  // 1 bottom right, 2 top left
  std::int64_t left = -1, right = -1;
  double softcap = 0;
  std::vector<std::int64_t> kv_lens;  // [B]
  std::vector<std::uint8_t> allowed;  // [M, N]
  std::vector<float> added;           // [M, N]
  std::vector<float> slopes, sinks;   // [Hq]
};

inline NaiveResult naive_attention(const Case& c, const NaiveOptions& o) {
  NaiveResult result;
  const double infinity = std::numeric_limits<double>::infinity();
  for (std::int64_t b = 0; b < c.batch; ++b) {
    const std::int64_t keys = o.kv_lens.empty() ? c.n : o.kv_lens[static_cast<std::size_t>(b)];
    for (std::int64_t h = 0; h < c.q_heads; ++h) {
      const std::int64_t kv = b * c.kv_heads + h * c.kv_heads / c.q_heads;
      for (std::int64_t i = 0; i < c.m; ++i) {
        const float* q = c.q.data() + ((b * c.q_heads + h) * c.m + i) * c.d;
        const std::int64_t diagonal = o.causal == 2 ? i : i + keys - c.m;
        std::vector<double> scores;
        double denominator_max = o.sinks.empty() ? -infinity : o.sinks[static_cast<std::size_t>(h)];
        for (std::int64_t j = 0; j < keys; ++j) {
          double s = 0;
          for (std::int64_t x = 0; x < c.d; ++x)
            s += static_cast<double>(q[x]) * c.k[static_cast<std::size_t>((kv * c.n + j) * c.d + x)];
          s /= std::sqrt(static_cast<double>(c.d));
          if (o.softcap > 0) s = o.softcap * std::tanh(s / o.softcap);
          if (!o.slopes.empty()) s += o.slopes[static_cast<std::size_t>(h)] * static_cast<double>(j - diagonal);
          if (!o.added.empty()) s += o.added[static_cast<std::size_t>(i * c.n + j)];
          bool visible = o.causal == 0 || j <= diagonal;
          visible = visible && (o.left < 0 || j >= diagonal - o.left) && (o.right < 0 || j <= diagonal + o.right);
          if (!o.allowed.empty()) visible = visible && o.allowed[static_cast<std::size_t>(i * c.n + j)] != 0;
          scores.push_back(visible ? s : -infinity);
          denominator_max = std::max(denominator_max, scores.back());
        }
        double sum = 0;
        std::vector<double> row(static_cast<std::size_t>(c.dv), 0.0);
        if (denominator_max > -infinity) {
          if (!o.sinks.empty()) sum += std::exp(o.sinks[static_cast<std::size_t>(h)] - denominator_max);
          for (std::int64_t j = 0; j < keys; ++j) {
            const double p = std::exp(scores[static_cast<std::size_t>(j)] - denominator_max);
            sum += p;
            for (std::int64_t x = 0; x < c.dv; ++x)
              row[static_cast<std::size_t>(x)] += p * c.v[static_cast<std::size_t>((kv * c.n + j) * c.dv + x)];
          }
          for (double& x : row) x /= sum;
        }
        result.out.insert(result.out.end(), row.begin(), row.end());
        result.lse.push_back(denominator_max > -infinity ? denominator_max + std::log(sum) : -infinity);
      }
    }
  }
  return result;
}

}  // namespace octavo::reference
