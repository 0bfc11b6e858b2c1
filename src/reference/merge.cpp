// merge_state() by the oracle, in double: LSE = max + log1p(exp(min - max)),
// O = O_a e^(LSE_a - LSE) + O_b e^(LSE_b - LSE).
#include <cmath>
#include <limits>

#include "reference/operand.hpp"
#include "reference/reference.hpp"

namespace octavo::reference {
namespace {

constexpr double kNoKeys = -std::numeric_limits<double>::infinity();

double joined_lse(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  const double high = a > b ? a : b, low = a > b ? b : a;
  return low == kNoKeys ? high : high + std::log1p(std::exp(low - high));
}

}  // namespace

void merge(const MergeProblem& p) {
  for (std::int64_t i = 0; i < p.batch * p.heads * p.rows; ++i) {
    const std::int64_t b = i / (p.heads * p.rows), h = i / p.rows % p.heads, row = i % p.rows;
    const auto lse_of = [&](const MergeProblem::Part& part) -> float& {
      return part.lse[b * part.lse_strides[0] + h * part.lse_strides[1] + row * part.lse_strides[2]];
    };
    const double lse_a = lse_of(p.a), lse_b = lse_of(p.b), lse = joined_lse(lse_a, lse_b);
    // A part that saw no key has no weight, whatever its O holds.
    const auto weighted = [&](const Operand& o, double its_lse, std::int64_t c) {
      if (its_lse == kNoKeys) return 0.0;
      return std::exp(its_lse - lse) * read_element(o.data, o.dtype, o.offset(b, h, row) + c * o.strides[3]);
    };
    for (std::int64_t c = 0; c < p.dim; ++c) {
      const double x = weighted(p.a.o, lse_a, c) + weighted(p.b.o, lse_b, c);
      static_cast<float*>(p.out.o.data)[p.out.o.offset(b, h, row) + c * p.out.o.strides[3]] = static_cast<float>(x);
    }
    lse_of(p.out) = static_cast<float>(lse);
  }
}

}  // namespace octavo::reference
