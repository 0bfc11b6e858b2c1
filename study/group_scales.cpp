// Scores of smoothed Q are q' k' + mean k' with k' unrounded in the second product: a dot product of [q', mean] and
// [k', k'], of twice as many channels, which exact_attention computes.
#include "study/group_scales.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/elements.hpp"
#include "common/exact_attention.hpp"

namespace octavo::study {
namespace {

constexpr std::int64_t kQueryBlock = 128;

double rounded_scale(double scale, ScaleFormat format) {
  if (scale == 0 || format == ScaleFormat::f32) return scale;
  if (format == ScaleFormat::power_of_two) return std::exp2(std::ceil(std::log2(scale)));
  return tool::f16_to_f32(tool::f32_to_f16(static_cast<float>(scale)));
}

// [H, N, D] and [H, N, D] -> [H, N, 2 D]
std::vector<double> beside(const std::vector<double>& a, const std::vector<double>& b, std::int64_t dim) {
  std::vector<double> result;
  result.reserve(a.size() + b.size());
  for (auto at = static_cast<std::ptrdiff_t>(0); at < static_cast<std::ptrdiff_t>(a.size()); at += dim) {
    result.insert(result.end(), a.begin() + at, a.begin() + at + dim);
    result.insert(result.end(), b.begin() + at, b.begin() + at + dim);
  }
  return result;
}

TensorView view_of(std::vector<double>& x, std::int64_t heads, std::int64_t rows, std::int64_t dim) {
  return {x.data(), DType::f64, {heads, rows, dim}};
}

void quantize_rows(std::vector<double>& x, std::int64_t dim, const GroupScales& options) {
  for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(dim)) quantize_row(&x[at], dim, options);
}

}  // namespace

const char* to_string(ScaleFormat format) {
  constexpr const char* kNames[] = {"f32", "f16", "power of two"};
  return kNames[static_cast<int>(format)];
}

void quantize_row(double* row, std::int64_t dim, const GroupScales& options) {
  const std::int64_t group = options.channels == 0 ? dim : options.channels;
  for (std::int64_t first = 0; first < dim; first += group) {
    const std::int64_t last = std::min(dim, first + group);
    double largest = 0;
    for (std::int64_t d = first; d < last; ++d) largest = std::max(largest, std::fabs(row[d]));
    const double scale = rounded_scale(largest / options.range, options.scales);
    for (std::int64_t d = first; d < last; ++d) {
      const double limit = options.range;
      row[d] = scale == 0 ? 0 : scale * std::clamp(std::nearbyint(row[d] / scale), -limit, limit);
    }
  }
}

void rotate_rows(std::vector<double>& x, std::int64_t dim) {
  for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(dim)) {
    double* row = &x[at];
    // Signs without a period that a Walsh function has.
    for (std::int64_t d = 0; d < dim; ++d) {
      row[d] *= ((static_cast<std::uint32_t>(d) + 1) * 0x9E3779B9u >> 31) != 0 ? -1 : 1;
    }
    for (std::int64_t h = 1; h < dim; h *= 2) {
      for (std::int64_t d = 0; d < dim; ++d) {
        if ((d & h) != 0) continue;
        const double a = row[d], b = row[d + h];
        row[d] = a + b, row[d + h] = a - b;
      }
    }
    for (std::int64_t d = 0; d < dim; ++d) row[d] /= std::sqrt(static_cast<double>(dim));
  }
}

std::vector<double> smooth_rows(std::vector<double>& x, std::int64_t rows, std::int64_t dim, std::int64_t block) {
  std::vector<double> means(x.size());
  const auto heads = static_cast<std::int64_t>(x.size()) / (rows * dim);
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t first = 0; first < rows; first += block) {
      const std::int64_t last = std::min(rows, first + block);
      for (std::int64_t d = 0; d < dim; ++d) {
        const auto at = [&](std::int64_t n) { return static_cast<std::size_t>((h * rows + n) * dim + d); };
        double mean = 0;
        for (std::int64_t n = first; n < last; ++n) mean += x[at(n)];
        mean /= static_cast<double>(last - first);
        for (std::int64_t n = first; n < last; ++n) x[at(n)] -= mean, means[at(n)] = mean;
      }
    }
  }
  return means;
}

Output group_attention(const Problem& problem, const GroupScales& options) {
  const std::int64_t heads = problem.heads(), rows = problem.q().shape[1], dim = problem.q().shape[2];
  const std::int64_t kv_heads = problem.k().shape[0], keys = problem.k().shape[1], value_dim = problem.v().shape[2];
  std::vector<double> q = tool::to_f64(problem.q()), k = tool::to_f64(problem.k()), v = tool::to_f64(problem.v());
  if (options.rotate) rotate_rows(q, dim), rotate_rows(k, dim);
  if (options.smooth_k) smooth_rows(k, keys, dim, keys);
  std::vector<double> means(q.size(), 0), exact_k = k;
  if (options.smooth_q) means = smooth_rows(q, rows, dim, kQueryBlock);
  quantize_rows(q, dim, options);
  quantize_rows(k, dim, options);
  if (options.quantize_v) quantize_rows(v, value_dim, options);
  if (options.smooth_q) q = beside(q, means, dim), k = beside(k, exact_k, dim);
  const std::int64_t width = options.smooth_q ? 2 * dim : dim;
  return {tool::exact_attention(view_of(q, heads, rows, width), view_of(k, kv_heads, keys, width),
                                view_of(v, kv_heads, keys, value_dim), problem.scale(), problem.causal()),
          {},
          "model in double"};
}

}  // namespace octavo::study
