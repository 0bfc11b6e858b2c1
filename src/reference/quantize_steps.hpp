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
  Matrix means;                // Q [blocks of 128, dim], K and V [1, dim], rotated; empty: nothing was subtracted
  Matrix block_shifts;         // K [blocks of 128, dim]: what a block's own mean exceeds `means` by; empty: one mean
  Matrix floats;               // Q: rotated; K: rotated and smoothed; before rounding. V: empty
  std::vector<bool> finite;    // Q, K per row: no NaN or infinity in the row or in its scale
  std::vector<float> gains;    // V: c_d of channel_gains; empty: all 1
  float value_divisor = 1.0f;  // V in f16: the power of two it was divided by
  float value_unit = 1.0f;     // V near f32's end: what it was multiplied by (spec/v_prescale.hpp)
};

// Per row of an operand; empty: true for all.
using RowFlags = std::vector<bool>;
inline bool flag(const RowFlags& flags, std::int64_t row) {
  return flags.empty() || flags[static_cast<std::size_t>(row)];
}

// The steps.
void rotate_rows(Matrix& x);
// x[row][c] *= factors[c].
void scale_columns(Matrix& x, const std::vector<float>& factors);
// Rows first..first+rows-1 that take part in statistics: seen (keys that some row of the call may see) and, for robust
// recipes, not stray among those rows (spec/stray_rows.hpp). Indexed by the row in x.
RowFlags counted_rows(const Matrix& x, std::int64_t first, std::int64_t rows, const RowFlags& seen, bool robust);
// Means of rows first..first+rows-1, of those that count.
std::vector<float> column_means(const Matrix& x, std::int64_t first, std::int64_t rows, const RowFlags& counted = {});
void subtract_means(Matrix& x, std::int64_t first, std::int64_t rows, const float* means);
// Codes of `format` with the largest code `range` (0: the format's own), scales by `groups`.
QuantizedRows round_rows(const Matrix& x, Format format, spec::Groups groups, float range = 0);

// g_d of spec/qk_gain.hpp for a KV head, from the floats of its K and of the group's Q.
std::vector<float> qk_gains(const std::vector<Matrix>& q_heads, const Matrix& k, const RowFlags& seen, bool robust);

// The means of K's blocks of 128 rows [blocks, dim], as given, if the head takes them (spec/block_mean.hpp); else
// empty. `mean`: of all rows.
Matrix block_means(const Matrix& k, const RowFlags& counted, const std::vector<float>& mean,
                   const std::vector<float>& gains);

// The operands, from floats. `wide`: Q in 16 bits, without smoothing (spec/q16.hpp). `gains`: empty, or what
// K's channels are multiplied by and Q's divided. `seen`: keys that some row of the call may see; the others must be
// zeros here (clear_unseen()).
QuantizedRows quantize_q(Matrix q, const Recipe& recipe, bool wide = false, const std::vector<float>& gains = {});
QuantizedRows quantize_k(Matrix k, const Recipe& recipe, const RowFlags& seen = {},
                         const std::vector<float>& gains = {});
QuantizedRows quantize_v(Matrix v, const Recipe& recipe, const RowFlags& seen = {});

// A key that no row may see is no key: zeros stand in its place, whatever the caller's memory holds.
void clear_unseen(Matrix& x, const RowFlags& seen);

// The operand of head (b, h) that the caller hands in as codes; rows first..first+rows-1.
QuantizedRows from_codes(const Operand& operand, Role role, const Recipe& recipe, std::int64_t b, std::int64_t h,
                         const spec::ScalePlace& place, std::int64_t first, std::int64_t rows, std::int64_t dim);

}  // namespace octavo::reference
