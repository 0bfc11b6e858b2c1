// merge_state(): LSE = max + log1p(exp(min - max)), O = O_a e^(LSE_a - LSE) + O_b e^(LSE_b - LSE), row by row. Weights
// are computed in double and applied in f32; both products are added once, so a and b may change places.
#include <cmath>
#include <limits>

#include "cpu/cpu.hpp"

namespace octavo::cpu {
namespace {

using Part = MergeProblem::Part;

double lse_at(const Part& part, std::int64_t b, std::int64_t h, std::int64_t row) {
  return part.lse[b * part.lse_strides[0] + h * part.lse_strides[1] + row * part.lse_strides[2]];
}

constexpr double kNothing = -std::numeric_limits<double>::infinity();

double joined_lse(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  const double high = a > b ? a : b, low = a > b ? b : a;
  return low == kNothing ? high : high + std::log1p(std::exp(low - high));
}

void merge_head(const MergeProblem& merge, std::int64_t b, std::int64_t h) {
  const std::int64_t step_a = merge.a.o.strides[3], step_b = merge.b.o.strides[3], step = merge.out.o.strides[3];
  for (std::int64_t row = 0; row < merge.rows; ++row) {
    const double lse_a = lse_at(merge.a, b, h, row), lse_b = lse_at(merge.b, b, h, row);
    const double lse = joined_lse(lse_a, lse_b);
    // A part that saw no key has no say, whatever stands in its O.
    const bool use_a = lse_a != kNothing, use_b = lse_b != kNothing;
    const float weight_a = use_a ? static_cast<float>(std::exp(lse_a - lse)) : 0.0f;
    const float weight_b = use_b ? static_cast<float>(std::exp(lse_b - lse)) : 0.0f;
    const float* o_a = static_cast<const float*>(merge.a.o.data) + merge.a.o.offset(b, h, row);
    const float* o_b = static_cast<const float*>(merge.b.o.data) + merge.b.o.offset(b, h, row);
    float* out = static_cast<float*>(merge.out.o.data) + merge.out.o.offset(b, h, row);
    for (std::int64_t c = 0; c < merge.dim; ++c) {
      const float from_a = use_a ? weight_a * o_a[c * step_a] : 0.0f;
      const float from_b = use_b ? weight_b * o_b[c * step_b] : 0.0f;
      out[c * step] = from_a + from_b;
    }
    merge.out.lse[b * merge.out.lse_strides[0] + h * merge.out.lse_strides[1] + row * merge.out.lse_strides[2]] =
        static_cast<float>(lse);
  }
}

}  // namespace

void merge(const Implementation&, const MergeProblem& problem, ParallelRunner& runner) noexcept {
  runner.run(
      problem.batch * problem.heads,
      [](void* context, std::int64_t head) {
        const auto& whole = *static_cast<const MergeProblem*>(context);
        merge_head(whole, head / whole.heads, head % whole.heads);
      },
      const_cast<MergeProblem*>(&problem));
}

}  // namespace octavo::cpu
