// dequantize() on the CPU: x = R^-1 (code * scale + mean) in f32, R the recipe's rotation; then the output's dtype.
#pragma once

#include "cpu/operands/load_transform.hpp"
#include "spec/scale_layout.hpp"

namespace octavo::cpu {
namespace {

// All rows of head `head` of one sequence, whose first row in the tensor is `begin`.
template <class S>
void dequantize_head(const DequantizeProblem& problem, std::int64_t b, std::int64_t head, const spec::ScalePlace& place,
                     std::int64_t begin, std::int64_t rows) {
  const Operand &codes = problem.codes, &out = problem.out;
  const std::int64_t dim = problem.dim;
  const spec::Groups groups = spec::groups_of(problem.role, problem.recipe);
  const float* const scales = spec::scales_at(codes, place, head);
  const float* const means = spec::means_at(codes, place, head);
  const bool by_channel = spec::per_channel(groups.granularity);
  alignas(64) float x[kMaxPadded], scale[kMaxPadded] = {}, mean[kMaxPadded] = {};
  alignas(64) std::int32_t signs[kMaxPadded];
  rotation_signs(signs, dim);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t group = spec::group_of_row(groups, row);
    for (std::int64_t d = 0; scales != nullptr && d < dim; ++d) scale[d] = scales[by_channel ? group * dim + d : group];
    for (std::int64_t d = 0; means != nullptr && d < dim; ++d)
      mean[d] = means[(problem.role == Role::q ? row / spec::kQueryBlock * dim : 0) + d];
    load_code_values<S>(codes, codes.offset(b, head, begin + row), dim, x);
    for (std::int64_t d = 0; d < dim; d += S::kLanes) {
      auto value = S::load(x + d);
      if (scales != nullptr) value = S::mul(value, S::load(scale + d));
      if (means != nullptr) value = S::add(value, S::load(mean + d));
      S::store(x + d, value);
    }
    if (codes.rotated) rotate_row_back<S>(x, signs, dim);
    store_row<S>(out, out.offset(b, head, begin + row), dim, x);
  }
}

}  // namespace
}  // namespace octavo::cpu
