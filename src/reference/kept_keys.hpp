// The part of a row that is computed exactly (spec/kept_keys.hpp), and its joining with the quantized rest.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/problem.hpp"
#include "reference/matrix.hpp"
#include "reference/quantize_steps.hpp"
#include "reference/score_steps.hpp"
#include "spec/kept_keys.hpp"

namespace octavo::reference {

// A part's result: O [Dv] normalised, and the LSE (natural logarithm), whole and less the row's mask_max: parts are
// joined by the latter.
struct PartResult {
  std::vector<double> output;
  double lse = -std::numeric_limits<double>::infinity();
  double lse_less_mask = -std::numeric_limits<double>::infinity();
};

// The kept.heavy keys of largest delta_j + ln s_j among the candidates that are seen, the lower key first among equals.
// `delta` [N]: softmax_scale * mean_q . K'_j of the query block; empty: none. `relative_scales` [N]: s~ of the fold;
// empty: all 1.
std::vector<std::int64_t> heaviest_keys(const spec::KeptKeys& kept, const spec::PositionMask& mask,
                                        std::int64_t first_row, std::int64_t last_row, const std::vector<double>& delta,
                                        const std::vector<double>& relative_scales, const RowFlags& seen);

// Which keys of `range` a row keeps; index key - range.begin.
RowFlags kept_by_row(const spec::KeptKeys& kept, const spec::PositionMask& mask, std::int64_t row,
                     const std::vector<std::int64_t>& heavy, spec::KeyRange range);

// Softmax of the scores (natural units; minus infinity: not of this part) times the values, as given.
PartResult exact_part(const std::vector<double>& scores, const Matrix& values, spec::KeyRange range);

// Both parts together, without a whole LSE; a part that saw no key is ignored.
PartResult join(const PartResult& a, const PartResult& b);
// One more logit without a value, and the whole LSE.
PartResult join_sink(PartResult part, double sink, double mask_max);

}  // namespace octavo::reference
