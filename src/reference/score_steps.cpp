// Literal definitions; the order is product, softcap, additive terms, visibility.
#include "reference/score_steps.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <numbers>

#include "reference/operand.hpp"
#include "spec/mean.hpp"

namespace octavo::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double dot(const float* a, const float* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t c = 0; c < n; ++c) sum += static_cast<double>(a[c]) * b[c];
  return sum;
}

bool all_finite(const float* x, std::int64_t n) {
  return std::all_of(x, x + n, [](float value) { return std::isfinite(value); });
}

// Q8 . K8 for the keys of a range.
std::vector<double> exact_products(const QuantizedRows& q, const PreparedK& k, std::int64_t row, spec::KeyRange range) {
  const std::int64_t keys = range.end - range.begin;
  std::vector<double> s(static_cast<std::size_t>(keys), 0.0);
  for (std::int64_t c = 0; c < q.codes.cols; ++c) {
    const double q_code = q.codes.at(row, c);
    const float* k_codes = k.codes_by_channel.row(c) + range.begin;
    for (std::int64_t j = 0; j < keys; ++j) s[static_cast<std::size_t>(j)] += q_code * k_codes[j];
  }
  return s;
}

// softmax_scale * q' . (mean of a block of K - mean), q' the row that became codes; empty where K has one mean.
std::vector<double> shifts_of_row(const QuantizedRows& q, const PreparedK& k, std::int64_t row, double softmax_scale) {
  const Matrix& of_k = k.rows.block_shifts;
  std::vector<float> centred(q.floats.row(row), q.floats.row(row) + q.floats.cols);
  for (std::int64_t c = 0; !q.means.empty() && c < q.floats.cols; ++c) {
    centred[static_cast<std::size_t>(c)] -= q.means.at(row / spec::kQueryBlock, c);
  }
  std::vector<double> shifts;
  for (std::int64_t block = 0; block < of_k.rows; ++block) {
    shifts.push_back(softmax_scale * dot(centred.data(), of_k.row(block), of_k.cols));
  }
  return shifts;
}

// The same as a tensor core adds it up.
std::vector<double> modelled_products(const QuantizedRows& q, const PreparedK& k, std::int64_t row,
                                      spec::KeyRange range) {
  const std::int64_t dim = q.codes.cols;
  std::vector<spec::Factor> q_factors;
  for (std::int64_t c = 0; c < dim; ++c) {
    q_factors.push_back(spec::factor_of(q.codes.at(row, c), k.model->left_exponent));
  }
  std::vector<double> s;
  for (std::int64_t key = range.begin; key < range.end; ++key) {
    s.push_back(spec::fused_dot(q_factors.data(), k.factors.data() + key * dim, dim, 0.0f, k.model->law));
  }
  return s;
}

}  // namespace

PreparedK prepare_k(QuantizedRows k, std::optional<ModelledProduct> model) {
  PreparedK result;
  result.model = model;
  if (model) result.factors = factors_by_row(k.codes, model->right_exponent);
  result.codes_by_channel = Matrix(k.codes.cols, k.codes.rows);
  for (std::int64_t row = 0; row < k.codes.rows; ++row) {
    for (std::int64_t c = 0; c < k.codes.cols; ++c) result.codes_by_channel.at(c, row) = k.codes.at(row, c);
  }
  result.rows = std::move(k);
  return result;
}

std::vector<double> delta_scores(const QuantizedRows& q, const PreparedK& k, std::int64_t block, double softmax_scale) {
  if (q.means.empty()) return {};
  std::vector<double> delta(static_cast<std::size_t>(k.rows.codes.rows));
  for (std::int64_t j = 0; j < k.rows.codes.rows; ++j) {
    delta[static_cast<std::size_t>(j)] = softmax_scale * dot(q.means.row(block), k.rows.floats.row(j), q.means.cols);
  }
  return delta;
}

double row_constant(const QuantizedRows& q, const PreparedK& k, std::int64_t row, double softmax_scale) {
  if (k.rows.means.empty()) return 0;
  return softmax_scale * dot(q.floats.row(row), k.rows.means.row(0), q.floats.cols);
}

std::vector<double> products_of_row(const QuantizedRows& q, const PreparedK& k, std::int64_t row, spec::KeyRange range,
                                    double softmax_scale, const std::vector<double>& delta) {
  const std::int64_t keys = range.end - range.begin;
  std::vector<double> s = k.model ? modelled_products(q, k, row, range) : exact_products(q, k, row, range);
  const bool q_finite = q.finite[static_cast<std::size_t>(row)];
  const double q_factor = softmax_scale * q.scales.at(row, 0);
  const std::vector<double> of_blocks = shifts_of_row(q, k, row, softmax_scale);
  for (std::int64_t j = 0; j < keys; ++j) {
    const std::int64_t key = range.begin + j;
    double& score = s[static_cast<std::size_t>(j)];
    score = score * q_factor * k.rows.scales.at(key, 0);
    if (!delta.empty()) score += delta[static_cast<std::size_t>(key)];
    if (!of_blocks.empty()) score += of_blocks[static_cast<std::size_t>(key / spec::kMeanBlock)];
    if (!q_finite || !k.rows.finite[static_cast<std::size_t>(key)]) score = kNan;
  }
  return s;
}

AdditiveTerms additive_terms(const Problem& problem, const RowPlace& place, spec::KeyRange range,
                             const RowFlags& seen) {
  AdditiveTerms terms;
  terms.of_key.assign(static_cast<std::size_t>(range.end - range.begin), 0.0);
  const Broadcast& mask = problem.mask;
  for (std::int64_t key = range.begin; mask.data != nullptr && key < range.end; ++key) {
    double& term = terms.of_key[static_cast<std::size_t>(key - range.begin)];
    const double value = read_element(mask.data, mask.dtype,
                                      place.b * mask.strides[0] + place.q_head * mask.strides[1] +
                                          place.row * mask.strides[2] + key * mask.strides[3]);
    if (mask.dtype == DType::boolean) {
      term = value == 0 ? -kInfinity : 0.0;
    } else if (std::isfinite(value)) {
      term = std::max(value * std::numbers::log2e, -static_cast<double>(FLT_MAX));  // a number, never -infinity
    } else {
      term = value;
    }
  }
  // A constant that the mask's terms share is no part of softmax: taken off, however huge, it can swallow the digits
  // neither of the scores nor of ALiBi.
  double largest = -kInfinity;
  for (std::size_t j = 0; j < terms.of_key.size(); ++j) {
    const bool exists = flag(seen, range.begin + static_cast<std::int64_t>(j));
    if (exists && std::isfinite(terms.of_key[j])) largest = std::max(largest, terms.of_key[j]);
  }
  terms.common = largest == -kInfinity ? 0 : largest;
  for (double& term : terms.of_key) term -= terms.common;

  const Broadcast& alibi = problem.alibi_slopes;
  if (alibi.data == nullptr) return terms;
  const double slope =
      read_element(alibi.data, alibi.dtype, place.b * alibi.strides[0] + place.q_head * alibi.strides[1]);
  const std::int64_t centre = spec::diagonal(problem.causal, place.sequence.q_rows, place.sequence.k_rows, place.row);
  for (std::int64_t key = range.begin; key < range.end; ++key) {
    const auto offset = static_cast<double>(key - centre);
    const double distance = problem.alibi == Alibi::symmetric ? -std::abs(offset) : offset;
    terms.of_key[static_cast<std::size_t>(key - range.begin)] += slope * distance * std::numbers::log2e;
  }
  return terms;
}

ScoreRow scores_of_row(const Problem& problem, const RowPlace& place, const QuantizedRows& q, const PreparedK& k,
                       const std::vector<double>& delta, const RowFlags& seen) {
  ScoreRow result;
  result.range = spec::visible_keys(problem.causal, problem.window_left, problem.window_right, place.sequence.q_rows,
                                    place.sequence.k_rows, place.row);
  if (result.range.begin == result.range.end) return result;

  result.scores = products_of_row(q, k, place.row, result.range, problem.softmax_scale, delta);
  const AdditiveTerms terms = additive_terms(problem, place, result.range, seen);
  double constant = row_constant(q, k, place.row, problem.softmax_scale);
  if (problem.softcap > 0) {  // tanh needs the whole score; nothing is added afterwards
    for (double& s : result.scores) s = problem.softcap * std::tanh((s + constant) / problem.softcap);
    constant = 0;
  }

  result.smooth_k_offset = constant;
  result.mask_max = terms.common * std::numbers::ln2;

  for (std::size_t j = 0; j < terms.of_key.size(); ++j) {
    if (terms.of_key[j] == -kInfinity || !flag(seen, result.range.begin + static_cast<std::int64_t>(j))) {
      result.scores[j] = -kInfinity;  // whatever the product was
      continue;
    }
    result.sees_a_key = true;
    result.scores[j] = result.scores[j] * std::numbers::log2e + terms.of_key[j];
    if (!std::isfinite(result.scores[j])) result.is_nan = true;
  }
  return result;
}

std::vector<double> take_kept_scores(const Problem& problem, const RowPlace& place, const float* q, const Matrix& k,
                                     const Matrix& v, const RowFlags& kept, ScoreRow& row) {
  std::vector<double> scores(row.scores.size(), -kInfinity);
  const AdditiveTerms terms = additive_terms(problem, place, row.range);
  const double common = row.mask_max * std::numbers::log2e;  // of the keys that the row sees
  row.sees_a_key = row.is_nan = false;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    if (row.scores[j] == -kInfinity) continue;
    if (!kept[j]) {
      row.sees_a_key = true;
      row.is_nan = row.is_nan || !std::isfinite(row.scores[j]);
      continue;
    }
    row.scores[j] = -kInfinity;
    const std::int64_t key = row.range.begin + static_cast<std::int64_t>(j);
    if (!all_finite(q, k.cols) || !all_finite(k.row(key), k.cols) || !all_finite(v.row(key), v.cols)) {
      scores[j] = kNan;
      continue;
    }
    double s = problem.softmax_scale * dot(q, k.row(key), k.cols);
    if (problem.softcap > 0) s = problem.softcap * std::tanh(s / problem.softcap);
    scores[j] = s + (terms.of_key[j] + (terms.common - common)) * std::numbers::ln2;
  }
  return scores;
}

}  // namespace octavo::reference
