// Literal definitions.
#include "reference/kept_keys.hpp"

#include <algorithm>
#include <cmath>

namespace octavo::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double joined_lse(double a, double b) {
  const double high = std::max(a, b), low = std::min(a, b);
  return low == -kInfinity ? high : high + std::log1p(std::exp(low - high));
}

}  // namespace

std::vector<std::int64_t> heaviest_keys(const spec::KeptKeys& kept, const spec::PositionMask& mask,
                                        std::int64_t first_row, std::int64_t last_row, const std::vector<double>& delta,
                                        const std::vector<double>& relative_scales, const RowFlags& seen) {
  std::vector<std::int64_t> keys;
  if (delta.empty()) return keys;
  const spec::KeyRange candidates = spec::heavy_candidates(kept, mask, first_row, last_row);
  const auto of = [&](std::int64_t key) {
    const auto j = static_cast<std::size_t>(key);
    return delta[j] + (relative_scales.empty() ? 0.0 : std::log(relative_scales[j]));
  };
  for (std::int64_t key = candidates.begin; key < candidates.end; ++key) {
    if (flag(seen, key) && !std::isnan(of(key))) keys.push_back(key);
  }
  std::stable_sort(keys.begin(), keys.end(), [&](std::int64_t a, std::int64_t b) { return of(a) > of(b); });
  keys.resize(std::min(keys.size(), static_cast<std::size_t>(kept.heavy)));
  return keys;
}

RowFlags kept_by_row(const spec::KeptKeys& kept, const spec::PositionMask& mask, std::int64_t row,
                     const std::vector<std::int64_t>& heavy, spec::KeyRange range) {
  RowFlags flags(static_cast<std::size_t>(range.end - range.begin), false);
  const auto keep = [&](std::int64_t key) {
    if (key >= range.begin && key < range.end) flags[static_cast<std::size_t>(key - range.begin)] = true;
  };
  for (std::int64_t key = 0; key < kept.first; ++key) keep(key);
  const spec::KeyRange near = spec::near_keys(kept, mask, row);
  for (std::int64_t key = near.begin; key < near.end; ++key) keep(key);
  for (std::int64_t key : heavy) keep(key);
  return flags;
}

PartResult exact_part(const std::vector<double>& scores, const Matrix& values, spec::KeyRange range) {
  PartResult part;
  part.output.assign(static_cast<std::size_t>(values.cols), 0.0);
  double maximum = -kInfinity, sum = 0;
  for (double s : scores) maximum = std::max(maximum, s);
  if (maximum == -kInfinity) return part;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    if (scores[j] == -kInfinity) continue;
    const double weight = std::exp(scores[j] - maximum);
    const float* row = values.row(range.begin + static_cast<std::int64_t>(j));
    sum += weight;
    for (std::size_t d = 0; d < part.output.size(); ++d) part.output[d] += weight * row[d];
  }
  for (double& o : part.output) o /= sum;
  part.lse_less_mask = maximum + std::log(sum);
  return part;
}

PartResult join(const PartResult& a, const PartResult& b) {
  if (a.lse_less_mask == -kInfinity) return b;
  if (b.lse_less_mask == -kInfinity) return a;
  PartResult both;
  both.lse_less_mask = joined_lse(a.lse_less_mask, b.lse_less_mask);
  const double weight_a = std::exp(a.lse_less_mask - both.lse_less_mask),
               weight_b = std::exp(b.lse_less_mask - both.lse_less_mask);
  for (std::size_t d = 0; d < a.output.size(); ++d) {
    both.output.push_back(weight_a * a.output[d] + weight_b * b.output[d]);
  }
  return both;
}

PartResult join_sink(PartResult part, double sink, double mask_max) {
  const double before = part.lse_less_mask, sink_less_mask = sink - mask_max;
  part.lse_less_mask = sink == -kInfinity ? before : joined_lse(before, sink_less_mask);
  for (double& o : part.output) o *= std::exp(before - part.lse_less_mask);
  // Counted from the larger of the two, so that a mask of finfo.min cannot swallow the sink's digits.
  part.lse =
      before >= sink_less_mask ? part.lse_less_mask + mask_max : sink + std::log1p(std::exp(before - sink_less_mask));
  return part;
}

}  // namespace octavo::reference
