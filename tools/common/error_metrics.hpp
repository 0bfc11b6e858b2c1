// How far one set of numbers is from another.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace octavo::tool {

struct ErrorMetrics {
  double relative_l2 = 0;  // |a - b| / |b|; 0 / 0 = 0
  double relative_l1 = 0;  // sum |a - b| / sum |b|
  double cosine = 1;       // a.b / (|a| |b|); of two zero vectors 1
  double max_abs = 0;
  double bias = 0;  // mean of a - b, signed: what averaging does not take away
  double rmse = 0;
  std::int64_t elements = 0;
  std::int64_t not_finite = 0;  // elements that are NaN or infinite in a and not the same in b
};

// `a` against the reference `b`, of the same length. Where both are NaN or the same infinity, they agree.
inline ErrorMetrics compare(std::span<const double> a, std::span<const double> b) {
  ErrorMetrics metrics;
  metrics.elements = static_cast<std::int64_t>(a.size());
  double difference = 0, aa = 0, bb = 0, ab = 0, absolute = 0, b_absolute = 0, sum = 0;
  std::int64_t counted = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      metrics.not_finite += !(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])));
      continue;
    }
    const double d = a[i] - b[i];
    difference += d * d;
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    ab += a[i] * b[i];
    absolute += std::fabs(d);
    b_absolute += std::fabs(b[i]);
    sum += d;
    ++counted;
    metrics.max_abs = std::fmax(metrics.max_abs, std::fabs(d));
  }
  if (metrics.not_finite > 0) {
    metrics.relative_l2 = metrics.relative_l1 = metrics.max_abs = metrics.rmse =
        std::numeric_limits<double>::infinity();
    metrics.cosine = metrics.bias = std::numeric_limits<double>::quiet_NaN();
    return metrics;
  }
  if (difference > 0) metrics.relative_l2 = std::sqrt(difference / bb);
  if (absolute > 0) metrics.relative_l1 = absolute / b_absolute;
  if (aa > 0 && bb > 0) metrics.cosine = ab / std::sqrt(aa) / std::sqrt(bb);
  if ((aa > 0) != (bb > 0)) metrics.cosine = 0;
  if (counted > 0) metrics.rmse = std::sqrt(difference / static_cast<double>(counted));
  if (counted > 0) metrics.bias = sum / static_cast<double>(counted);
  return metrics;
}

}  // namespace octavo::tool
