// From one head of one sequence in f32 to codes and scales: rotation, smoothing, rounding, in this order and in the
// f32 arithmetic that every implementation repeats bit for bit.
#pragma once

#include <cstdint>
#include <vector>

#include "core/problem.hpp"
#include "octavo/quantize.hpp"
#include "octavo/recipe.hpp"
#include "reference/matrix.hpp"
#include "spec/granularity.hpp"
#include "spec/scale_layout.hpp"

namespace octavo::reference {

// The scales of one head, as QuantizedView lays them out; none where the format has no scale.
struct Scales {
  spec::Groups groups;
  std::int64_t dim = 0;
  std::vector<float> values;

  float at(std::int64_t row, std::int64_t channel) const {
    if (groups.granularity == Granularity::none) return 1.0f;
    const std::int64_t group = spec::group_of_row(groups, row);
    return values[static_cast<std::size_t>(spec::per_channel(groups.granularity) ? group * dim + channel : group)];
  }
};

// One operand of one head, x ~ code * scale + mean, in the rotated domain.
struct QuantizedRows {
  Matrix codes;                // [rows, dim]: the value of each code (an integer, or the rounded float)
  Scales scales;               //
  Matrix means;                // Q [blocks of 128, dim], K and V [1, dim]; empty where nothing was subtracted
  Matrix floats;               // Q: rotated; K: rotated and smoothed; before rounding. V: empty
  std::vector<bool> finite;    // Q, K per row: no NaN or infinity in the row or in its scale
  std::vector<float> gains;    // V: c_d of channel_gains; empty: all 1
  float value_divisor = 1.0f;  // V in f16: the power of two it was divided by
  float value_unit = 1.0f;     // V near f32's end: what it was multiplied by (spec/v_prescale.hpp)
};

// The steps.
void rotate_rows(Matrix& x);
std::vector<float> column_means(const Matrix& x, std::int64_t first, std::int64_t rows);
void subtract_means(Matrix& x, std::int64_t first, std::int64_t rows, const float* means);
// Codes of `format` with the largest code `range` (0: the format's own), scales by `groups`.
QuantizedRows round_rows(const Matrix& x, Format format, spec::Groups groups, float range = 0);

// The operands, from floats. `wide`: Q in 16 bits, without smoothing (spec/q16.hpp).
QuantizedRows quantize_q(Matrix q, const Recipe& recipe, bool wide = false);
QuantizedRows quantize_k(Matrix k, const Recipe& recipe);
QuantizedRows quantize_v(Matrix v, const Recipe& recipe);

// The operand of head (b, h) that the caller hands in as codes; rows first..first+rows-1.
QuantizedRows from_codes(const Operand& operand, Role role, const Recipe& recipe, std::int64_t b, std::int64_t h,
                         const spec::ScalePlace& place, std::int64_t first, std::int64_t rows, std::int64_t dim);

}  // namespace octavo::reference
