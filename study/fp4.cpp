// One head at a time; scores and sums are exact in double, so the error is that of the format alone.
#include "study/fp4.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/attention_rows.hpp"
#include "common/elements.hpp"
#include "study/group_scales.hpp"

namespace octavo::study {
namespace {

constexpr std::int64_t kGroup = 16, kKeyBlock = 128, kQueryBlock = 128;
constexpr double kLevel = 6 * 448;  // the first level of P: its largest weight

// Rounds x > 0 to a multiple of 2^(exponent - mantissa bits), the exponent at least `least`.
double round_float(double x, int mantissa, int least) {
  int exponent = 0;
  std::frexp(x, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 1, least) - mantissa);
  return std::nearbyint(x / unit) * unit;
}

void round_rows(std::vector<double>& x, std::int64_t rows, std::int64_t dim) {
  for (std::int64_t n = 0; n < rows; ++n) {
    for (std::int64_t d = 0; d < dim; d += kGroup) {
      round_group(&x[static_cast<std::size_t>(n * dim + d)], std::min(kGroup, dim - d), 1);
    }
  }
}

double dot(const double* a, const double* b, std::int64_t size) {
  double sum = 0;
  for (std::int64_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<double> head_of(const std::vector<double>& x, const TensorView& view, std::int64_t head) {
  const auto size = view.shape[1] * view.shape[2];
  return {x.begin() + head * size, x.begin() + (head + 1) * size};
}

}  // namespace

double round_e2m1(double x) {
  const double magnitude = std::min(std::fabs(x), 6.0);
  return magnitude == 0 ? 0 : std::copysign(round_float(magnitude, 1, 0), x);
}

double round_e4m3(double x) {
  const double magnitude = std::fabs(x);
  return magnitude == 0 ? 0 : std::copysign(std::min(round_float(magnitude, 3, -6), 448.0), x);
}

void round_group(double* x, std::int64_t count, std::int64_t stride) {
  double largest = 0;
  for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(x[i * stride]));
  const double scale = round_e4m3(largest / 6);
  for (std::int64_t i = 0; i < count; ++i) {
    x[i * stride] = scale == 0 ? 0 : scale * round_e2m1(x[i * stride] / scale);
  }
}

Output fp4_attention(const Problem& problem, bool rotate) {
  const std::int64_t heads = problem.heads(), rows = problem.q().shape[1], dim = problem.q().shape[2];
  const std::int64_t kv_heads = problem.k().shape[0], keys = problem.k().shape[1], value_dim = problem.v().shape[2];
  const std::vector<double> all_q = tool::to_f64(problem.q()), all_k = tool::to_f64(problem.k());
  const std::vector<double> all_v = tool::to_f64(problem.v());
  Output output{std::vector<double>(static_cast<std::size_t>(heads * rows * value_dim)), {}, "model in double"};
  tool::parallel_for(heads, [&](std::int64_t h) {
    const std::int64_t kv = h / (heads / kv_heads);
    std::vector<double> q = head_of(all_q, problem.q(), h), k = head_of(all_k, problem.k(), kv);
    std::vector<double> v = head_of(all_v, problem.v(), kv);
    if (rotate) rotate_rows(q, dim), rotate_rows(k, dim);
    smooth_rows(k, keys, dim, keys);
    const std::vector<double> smooth_k = k, means = smooth_rows(q, rows, dim, kQueryBlock);
    round_rows(q, rows, dim);
    round_rows(k, keys, dim);
    for (std::int64_t n = 0; n < keys; n += kGroup) {
      for (std::int64_t d = 0; d < value_dim; ++d) {
        round_group(&v[static_cast<std::size_t>(n * value_dim + d)], std::min(kGroup, keys - n), value_dim);
      }
    }
    std::vector<double> p(kKeyBlock), bias(static_cast<std::size_t>(keys));
    for (std::int64_t i = 0; i < rows; ++i) {
      if (i % kQueryBlock == 0) {
        for (std::int64_t j = 0; j < keys; ++j) {
          bias[static_cast<std::size_t>(j)] =
              dot(&means[static_cast<std::size_t>(i * dim)], &smooth_k[static_cast<std::size_t>(j * dim)], dim);
        }
      }
      double m = -std::numeric_limits<double>::infinity(), sum = 0;
      double* out = &output.out[static_cast<std::size_t>((h * rows + i) * value_dim)];
      const std::int64_t seen = tool::visible_keys(i, rows, keys, problem.causal());
      for (std::int64_t first = 0; first < seen; first += kKeyBlock) {
        const std::int64_t count = std::min(kKeyBlock, seen - first);
        std::fill(p.begin(), p.end(), 0.0);
        double largest = m;
        for (std::int64_t j = 0; j < count; ++j) {
          double& s = p[static_cast<std::size_t>(j)];
          s = dot(&q[static_cast<std::size_t>(i * dim)], &k[static_cast<std::size_t>((first + j) * dim)], dim);
          s = (s + bias[static_cast<std::size_t>(first + j)]) * problem.scale();
          largest = std::max(largest, s);
        }
        const double alpha = std::exp(m - largest);
        m = largest, sum *= alpha;
        for (std::int64_t j = 0; j < count; ++j) {
          double& weight = p[static_cast<std::size_t>(j)];
          weight = kLevel * std::exp(weight - m);
          sum += weight;
        }
        for (std::int64_t j = 0; j < count; j += kGroup) round_group(&p[static_cast<std::size_t>(j)], kGroup, 1);
        for (std::int64_t d = 0; d < value_dim; ++d) out[d] *= alpha;
        for (std::int64_t j = 0; j < count; ++j) {
          const double* value = &v[static_cast<std::size_t>((first + j) * value_dim)];
          for (std::int64_t d = 0; d < value_dim; ++d) out[d] += p[static_cast<std::size_t>(j)] * value[d];
        }
      }
      for (std::int64_t d = 0; d < value_dim; ++d) out[d] /= sum;
    }
  });
  return output;
}

}  // namespace octavo::study
