// Codes of P that are zero, from the definition: R 2^(T - reference) below half of the format's smallest number.
#include <algorithm>
#include <cmath>
#include <limits>

#include "common/attention_rows.hpp"
#include "common/elements.hpp"
#include "study/measure.hpp"

namespace octavo::study {
namespace {

constexpr std::int64_t kMostRows = 64;  // of each problem
constexpr double kLog2E = 1.4426950408889634;
constexpr double kLeastFold = 0x1p-60;

// Half of the smallest positive number of P's format.
double half_of_smallest(WeightFormat format) {
  switch (format) {
    case WeightFormat::input:
      return 0;
    case WeightFormat::f16:
      return 0x1p-25;
    case WeightFormat::e4m3:
      return 0x1p-10;
    case WeightFormat::e5m2:
      return 0x1p-17;
    case WeightFormat::s8:
    case WeightFormat::u8:
    case WeightFormat::u16:
      return 0.5;
  }
  return 0;
}

// log2 of each token's largest magnitude over the head's; 0 without the fold.
std::vector<double> fold_of(const std::vector<double>& v, std::int64_t rows, std::int64_t dim, bool folded) {
  std::vector<double> result(static_cast<std::size_t>(rows), 0);
  if (!folded) return result;
  double largest = 0;
  for (std::int64_t n = 0; n < rows; ++n) {
    double& size = result[static_cast<std::size_t>(n)];
    for (std::int64_t d = 0; d < dim; ++d) size = std::max(size, std::fabs(v[static_cast<std::size_t>(n * dim + d)]));
    largest = std::max(largest, size);
  }
  for (double& size : result) size = std::log2(std::max(largest > 0 ? size / largest : 1, kLeastFold));
  return result;
}

struct Counts {
  double codes = 0, zeros = 0, mass = 0, rows = 0;
};

// t [N]: base-2 scores of the keys that the row sees; lse in the same units.
void count_row(const std::vector<double>& t, const std::vector<double>& fold, double lse, const Recipe& recipe,
               Counts& counts) {
  const double half = half_of_smallest(recipe.p);
  double running = -std::numeric_limits<double>::infinity();
  for (std::size_t begin = 0; begin < t.size(); begin += static_cast<std::size_t>(recipe.key_block)) {
    const std::size_t end = std::min(t.size(), begin + static_cast<std::size_t>(recipe.key_block));
    double block = -std::numeric_limits<double>::infinity();
    for (std::size_t j = begin; j < end; ++j) block = std::max(block, t[j] + fold[j]);
    running = std::max(running, block);
    const double reference = recipe.p_reference == MaximumReference::block ? block : running;
    for (std::size_t j = begin; j < end; ++j) {
      const bool zero = recipe.p_range * std::exp2(t[j] + fold[j] - reference) <= half;
      counts.codes += 1, counts.zeros += zero, counts.mass += zero ? std::exp2(t[j] - lse) : 0;
    }
  }
  counts.rows += 1;
}

}  // namespace

ZeroCodes zero_codes(const std::vector<Problem>& problems, const Recipe& recipe) {
  Counts counts;
  for (const Problem& problem : problems) {
    const std::int64_t rows = problem.q().shape[1], keys = problem.k().shape[1], dim = problem.q().shape[2];
    const std::int64_t value_dim = problem.v().shape[2];
    const std::vector<double> q = tool::to_f64(problem.q()), k = tool::to_f64(problem.k());
    const std::vector<double> v = tool::to_f64(problem.v());
    // The rows of one head, evenly spaced.
    const std::vector<double> fold = fold_of({v.begin(), v.begin() + keys * value_dim}, keys, value_dim,
                                             recipe.v_scale == Granularity::token_folded);
    for (std::int64_t r = 0; r < std::min(rows, kMostRows); ++r) {
      const std::int64_t row = r * rows / std::min(rows, kMostRows);
      std::vector<double> t(static_cast<std::size_t>(tool::visible_keys(row, rows, keys, problem.causal())), 0);
      for (std::size_t j = 0; j < t.size(); ++j) {
        const double* key = &k[j * static_cast<std::size_t>(dim)];
        for (std::int64_t d = 0; d < dim; ++d) t[j] += q[static_cast<std::size_t>(row * dim + d)] * key[d];
        t[j] *= problem.scale() * kLog2E;
      }
      count_row(t, fold, problem.lse()[static_cast<std::size_t>(row)] * kLog2E, recipe, counts);
    }
  }
  return {counts.zeros / counts.codes, counts.mass / counts.rows};
}

}  // namespace octavo::study
