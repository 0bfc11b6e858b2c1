// dequantize() by the oracle: x = R^-1 (code * scale + mean), R the recipe's rotation, in f32 as the format defines it.
#include <vector>

#include "reference/operand.hpp"
#include "reference/reference.hpp"
#include "spec/rotation.hpp"
#include "spec/scale_layout.hpp"

namespace octavo::reference {
namespace {

// All rows of head (b, h) of one sequence, whose first row is `begin`.
void dequantize_head(const DequantizeProblem& p, const spec::Groups& groups, std::int64_t b, std::int64_t h,
                     const spec::ScalePlace& place, std::int64_t begin, std::int64_t rows) {
  Matrix x = load_rows(p.codes, b, h, begin, rows, p.dim);
  const float* const scales = spec::scales_at(p.codes, place, h);
  const float* const means = spec::means_at(p.codes, place, h);
  std::vector<double> row_of_out(static_cast<std::size_t>(p.dim));
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t group = spec::group_of_row(groups, row);
    for (std::int64_t c = 0; c < p.dim; ++c) {
      float& value = x.at(row, c);
      if (scales != nullptr) value *= scales[spec::per_channel(groups.granularity) ? group * p.dim + c : group];
      if (means != nullptr) value += means[(p.role == Role::q ? row / spec::kQueryBlock * p.dim : 0) + c];
    }
    if (p.codes.rotated) spec::rotate_row_back(x.row(row), p.dim);
    row_of_out.assign(x.row(row), x.row(row) + p.dim);
    store_output_row(p.out, b, h, begin + row, row_of_out.data(), p.dim);
  }
}

}  // namespace

void dequantize(const DequantizeProblem& p) {
  const spec::Groups groups = spec::groups_of(p.role, p.recipe);
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t h = 0; h < p.heads; ++h) {
      if (p.cu_seqlens.data == nullptr) {
        const spec::ScalePlace place{b * p.codes.scales_per_sequence, b * p.codes.means_per_sequence};
        dequantize_head(p, groups, b, h, place, 0, p.rows);
        continue;
      }
      spec::ScaleCursor walk(p.codes, groups, p.dim, true);
      for (std::int64_t s = 0; s < p.sequences; ++s) {
        const std::int64_t begin = p.cu_seqlens[s], rows = p.cu_seqlens[s + 1] - begin;
        dequantize_head(p, groups, b, h, walk.place(), begin, rows);
        walk.pass(rows);
      }
    }
  }
}

}  // namespace octavo::reference
