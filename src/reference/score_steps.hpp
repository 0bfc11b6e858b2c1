// One row of scores, in double: S = scale * (Q8 . K8) * scale_q * scale_k + Delta_S, softcap, additive terms, then
// visibility. What leaves here is in base 2 and relative to the row's `shift`, a constant that softmax does not see.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/problem.hpp"
#include "reference/matrix.hpp"
#include "reference/quantize_steps.hpp"
#include "reference/tensor_core.hpp"
#include "spec/visibility.hpp"

namespace octavo::reference {

// K of one head, ready for rows of Q: the codes by channel [D, N], so that a row's scores are sums of whole columns.
struct PreparedK {
  QuantizedRows rows;
  Matrix codes_by_channel;
  std::optional<ModelledProduct> model;  // of Q K^T
  std::vector<spec::Factor> factors;     // [N, D], with a model
};
PreparedK prepare_k(QuantizedRows k, std::optional<ModelledProduct> model = std::nullopt);

// Delta_S [N] of Q block `block`: softmax_scale * mean_q . K'_j, natural units; empty where Q was not smoothed.
std::vector<double> delta_scores(const QuantizedRows& q, const PreparedK& k, std::int64_t block, double softmax_scale);

// softmax_scale * q . mean_k with the unquantized q of a row: what smooth_k took off all scores of the row.
double row_constant(const QuantizedRows& q, const PreparedK& k, std::int64_t row, double softmax_scale);

// softmax_scale * q . k as the codes have it, plus Delta_S, natural units, keys range.begin..range.end-1; NaN where q
// or k holds a NaN or an infinity.
std::vector<double> products_of_row(const QuantizedRows& q, const PreparedK& k, std::int64_t row, spec::KeyRange range,
                                    double softmax_scale, const std::vector<double>& delta);

struct RowPlace {
  std::int64_t b = 0, q_head = 0, row = 0;
  Sequence sequence;
};

// The caller's additive terms of one row: mask and ALiBi, in base 2; -infinity: may not attend.
struct AdditiveTerms {
  std::vector<double> of_key;  // index key - range.begin, less `common`
  double common = 0;           // the mask's largest finite term
};
AdditiveTerms additive_terms(const Problem& problem, const RowPlace& place, spec::KeyRange range,
                             const RowFlags& seen = {});

struct ScoreRow {
  spec::KeyRange range;
  std::vector<double> scores;  // base 2, minus shift; -infinity where the row may not attend; index key - range.begin
  // Natural units: the true score is scores * ln 2 + smooth_k_offset + mask_max.
  double smooth_k_offset = 0;
  double mask_max = 0;  // the mask's largest finite term; beside finfo.min no other number has digits left
  double shift() const { return smooth_k_offset + mask_max; }
  bool sees_a_key = false;
  bool is_nan = false;  // some score that it sees is NaN or infinite
};
ScoreRow scores_of_row(const Problem& problem, const RowPlace& place, const QuantizedRows& q, const PreparedK& k,
                       const std::vector<double>& delta, const RowFlags& seen = {});

// The scores of the keys that a row keeps (`kept`, index key - range.begin), from Q and K as they were given: natural
// units, less row.mask_max; minus infinity for other keys and where the row may not attend, NaN where q, k or v is not
// finite. Such keys leave `row`, whose flags then speak of the rest.
std::vector<double> take_kept_scores(const Problem& problem, const RowPlace& place, const float* q, const Matrix& k,
                                     const Matrix& v, const RowFlags& kept, ScoreRow& row);

}  // namespace octavo::reference
