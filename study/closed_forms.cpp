// With e_q, e_k the relative rounding errors of Q and K, scores are off by sqrt(e_q^2 + e_k^2) times their deviation,
// and so is O, relative to its size: dO = sum_j p_j dS_j (v_j - O). Codes of P are off by 1 / (R sqrt(12)) in units of
// exp(reference), weights have the mean square exp(2 spread^2): error exp(reference - spread^2) / (R sqrt(12)).
#include "study/closed_forms.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace octavo::study {
namespace {

constexpr double kStep = 1e-3, kEnd = 9;
const double kRms12 = std::sqrt(12.0);

double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }
double below(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// Mantissa bits of a float format, 0 of an integer.
int mantissa_of(Format format) { return format == Format::e4m3 ? 3 : format == Format::e5m2 ? 2 : 0; }

// Error of numbers whose magnitudes are spread over octaves: unit 2^-m / sqrt(12) of numbers in [1, 2).
double float_error(int mantissa) { return std::exp2(-mantissa) / kRms12 * std::sqrt(0.75 / (2 * std::numbers::ln2)); }

double rows_of_group(Granularity granularity, std::int64_t rows, std::int64_t slice) {
  switch (granularity) {
    case Granularity::tensor:
      return static_cast<double>(rows);
    case Granularity::block:
      return 64;
    case Granularity::warp:
      return static_cast<double>(slice);
    case Granularity::thread:
      return static_cast<double>(slice) / 8;
    default:
      return 1;
  }
}

double weight_error(const Recipe& recipe, double spread, std::int64_t keys) {
  switch (recipe.p) {
    case WeightFormat::input:
    case WeightFormat::f16:
      return 0;
    case WeightFormat::e4m3:
      return float_error(3);
    case WeightFormat::e5m2:
      return float_error(2);
    default:
      break;
  }
  // The mean square of exp(reference) over key blocks: the block's maximum, or that of all keys up to it.
  double sum = 0, blocks = 0;
  for (std::int64_t end = recipe.key_block; end <= keys; end += recipe.key_block) {
    const bool own = recipe.p_reference == MaximumReference::block;
    sum += mean_exp_of_largest(static_cast<double>(own ? recipe.key_block : end), 2 * spread);
    blocks += 1;
    if (own) break;
    if (end >= 64 * recipe.key_block) {  // beyond, the maximum grows slowly: steps of a quarter
      const std::int64_t skip = end / 4 / recipe.key_block * recipe.key_block;
      const double more = static_cast<double>(std::min(skip, keys - end) / recipe.key_block);
      sum += more * mean_exp_of_largest(static_cast<double>(end + skip / 2), 2 * spread), blocks += more;
      end += skip;
    }
  }
  return std::sqrt(sum / blocks) * std::exp(-spread * spread) / (recipe.p_range * kRms12);
}

}  // namespace

double mean_square_of_largest_magnitude(double n) {
  double sum = 0;
  for (double x = kStep / 2; x < kEnd; x += kStep) {
    sum += x * x * n * 2 * density(x) * std::pow(2 * below(x) - 1, n - 1) * kStep;
  }
  return sum;
}

double mean_exp_of_largest(double n, double factor) {
  double sum = 0;
  for (double x = -kEnd; x < kEnd; x += kStep) {
    sum += std::exp(factor * x) * n * density(x) * std::pow(below(x), n - 1) * kStep;
  }
  return sum;
}

double rounding_error(Format format, double count) {
  switch (format) {
    case Format::input:
    case Format::f16:
      return 0;
    case Format::e4m3:
    case Format::e5m2:
      return float_error(mantissa_of(format));
    case Format::s8:
    case Format::s4:
      return std::sqrt(mean_square_of_largest_magnitude(count)) / ((format == Format::s8 ? 127 : 7) * kRms12);
  }
  return 0;
}

double Predicted::all() const { return std::sqrt(qk * qk + p * p + v * v); }

Predicted predict(const Recipe& recipe, double spread, std::int64_t keys, std::int64_t dim) {
  const auto channels = static_cast<double>(dim);
  const double q = rounding_error(recipe.scores, channels * rows_of_group(recipe.q_scale, 128, recipe.q_group));
  const double k = rounding_error(recipe.scores, channels * rows_of_group(recipe.k_scale, keys, 2 * recipe.k_group));
  double count = channels;  // of V's groups
  if (recipe.v_scale == Granularity::tensor) count = channels * static_cast<double>(keys);
  if (recipe.v_scale == Granularity::channel) count = static_cast<double>(keys);
  if (recipe.v_scale == Granularity::block_channel) count = recipe.key_block;
  if (recipe.v_scale == Granularity::block) count = channels * recipe.key_block;
  return {spread * std::sqrt(q * q + k * k), weight_error(recipe, spread, keys), rounding_error(recipe.values, count)};
}

}  // namespace octavo::study
