// The oracle: every row of every head on its own, key blocks in ascending order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>

#include "reference/kept_keys.hpp"
#include "reference/operand.hpp"
#include "reference/quantize_steps.hpp"
#include "reference/reference.hpp"
#include "reference/score_steps.hpp"
#include "reference/seen_keys.hpp"
#include "reference/softmax_steps.hpp"
#include "reference/tensor_core.hpp"
#include "reference/trace.hpp"
#include "spec/kept_keys.hpp"
#include "spec/operand.hpp"
#include "spec/q16.hpp"
#include "spec/qk_gain.hpp"
#include "spec/scale.hpp"
#include "spec/v_prescale.hpp"

namespace octavo::reference {
namespace {

PartResult attend(const ScoreRow& row, const PreparedV& v, const Problem& problem, const Recipe& recipe, double sink,
                  RowTrace* trace) {
  const bool one_level = v.model && !recipe.two_level;
  const DType weights_dtype = v.model ? problem.v.dtype : DType::f32;
  RowState state;
  state.output.assign(static_cast<std::size_t>(v.rows.codes.cols), 0.0);

  const std::span<const double> scores = row.scores;
  const std::span<const double> relative_scales = v.relative_scales;
  const std::int64_t block = recipe.key_block;
  for (std::int64_t start = row.range.begin / block * block; start < row.range.end; start += block) {
    const std::int64_t first = std::max(start, row.range.begin);
    const std::int64_t last = std::min(start + block, row.range.end);
    // The block's keys before the row's range count as unseen: accumulators of few digits step from the block's first
    // key.
    std::vector<double> block_scores(static_cast<std::size_t>(last - start), -std::numeric_limits<double>::infinity());
    std::copy(scores.begin() + (first - row.range.begin), scores.begin() + (last - row.range.begin),
              block_scores.begin() + (first - start));
    const BlockWeights weights = weights_of_block(
        block_scores, relative_scales.empty() ? relative_scales : relative_scales.subspan(start, last - start),
        state.maximum, recipe, weights_dtype);
    if (!weights.visible) continue;
    if (one_level) {
      accumulate_block(state, weights, v, start, recipe);
    } else {
      add_block(state, weights, value_product(weights, v, start, recipe), recipe);
    }
    if (trace != nullptr) trace->record_block(start, weights, state);
  }

  const double seen_maximum = state.maximum;
  const double sink_share = add_sink(state, (sink - row.shift()) * std::numbers::log2e);
  PartResult result;
  // Counted from the larger of the two, so that a mask of finfo.min cannot swallow the sink's digits.
  const double lse = (state.maximum + std::log2(state.sum)) * std::numbers::ln2;
  result.lse = state.maximum == seen_maximum ? lse + row.shift() : sink + std::log(state.sum);
  result.lse_less_mask = lse + row.smooth_k_offset;
  finish_output(state, v, recipe, sink_share);
  result.output = std::move(state.output);
  return result;
}

// Whether a token whose scale is NaN takes part: its weight is undefined, and with it the row.
bool sees_a_broken_value(const ScoreRow& row, const PreparedV& v) {
  if (v.relative_scales.empty()) return false;
  for (std::int64_t key = row.range.begin; key < row.range.end; ++key) {
    const double score = row.scores[static_cast<std::size_t>(key - row.range.begin)];
    if (score != -std::numeric_limits<double>::infinity() &&
        std::isnan(v.relative_scales[static_cast<std::size_t>(key)])) {
      return true;
    }
  }
  return false;
}

PartResult result_of_row(const ScoreRow& row, const PreparedV& v, const Problem& problem, const Recipe& recipe,
                         double sink, RowTrace* trace) {
  const auto dim = static_cast<std::size_t>(v.rows.codes.cols);
  if (trace != nullptr) trace->record_scores(row, v);
  if (!row.sees_a_key) return {std::vector<double>(dim, 0.0), sink};
  if (row.is_nan || std::isnan(sink) || sink == std::numeric_limits<double>::infinity() ||
      sees_a_broken_value(row, v)) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    if (trace != nullptr) trace->record_nan();
    return {std::vector<double>(dim, kNan), kNan};
  }
  return attend(row, v, problem, recipe, sink, trace);
}

// A sequence of the batch: its rows, and where the scales and means of the caller's codes lie.
struct Place {
  Sequence rows;
  spec::ScalePlace q_scale_place, k_scale_place, v_scale_place;
};

// What the query heads of one KV head share.
struct KvHead {
  const Place& place;
  std::int64_t b, tensor_b, head;  // varlen sequences have no batch axis of their own
  Recipe recipe;                   // of this call: recipe_of_codes() where an operand comes as codes
  RowFlags seen;                   // keys that some row may see
  std::vector<float> gains;        // of Q and K; empty: all 1
  spec::PositionMask mask;
  spec::KeptKeys kept;
  Matrix k_given, v_given;  // floats as they were given; for kept keys
};

Matrix floats_of(const Operand& x, std::int64_t b, std::int64_t h, std::int64_t first, std::int64_t rows,
                 std::int64_t dim) {
  return x.quantized ? Matrix() : load_rows(x, b, h, first, rows, dim);
}

KvHead kv_head_of(const Problem& p, const Place& place, std::int64_t b, std::int64_t kv_head) {
  const Sequence& s = place.rows;
  KvHead head{place, b, p.varlen() ? 0 : b, kv_head, p.recipe, seen_keys(p, s, b, kv_head), {}, {}, {}, {}, {}};
  if (p.q.quantized || p.k.quantized || p.v.quantized) head.recipe = spec::recipe_of_codes(p.recipe);
  head.mask = {p.causal, p.window_left, p.window_right, s.q_rows, s.k_rows};
  head.kept = spec::kept_keys_of(head.recipe, head.mask);
  head.k_given = floats_of(p.k, head.tensor_b, kv_head, s.k_begin, s.k_rows, p.head_dim);
  head.v_given = floats_of(p.v, head.tensor_b, kv_head, s.k_begin, s.k_rows, p.value_dim);
  clear_unseen(head.k_given, head.seen);
  clear_unseen(head.v_given, head.seen);
  if (head.recipe.qk_gains) head.gains.assign(static_cast<std::size_t>(p.head_dim), 1.0f);
  if (head.recipe.qk_gains && s.q_rows >= spec::kGainQueryRows) {
    std::vector<Matrix> q;
    const std::int64_t group = p.q_heads / p.kv_heads;
    for (std::int64_t i = 0; i < group; ++i) {
      q.push_back(load_rows(p.q, head.tensor_b, kv_head * group + i, s.q_begin, s.q_rows, p.head_dim));
    }
    head.gains = qk_gains(q, head.k_given, head.seen, head.recipe.robust);
  }
  return head;
}

QuantizedRows q_of(const Problem& p, const KvHead& head, std::int64_t q_head) {
  const Sequence& s = head.place.rows;
  if (p.q.quantized) {
    return from_codes(p.q, Role::q, head.recipe, head.tensor_b, q_head, head.place.q_scale_place, s.q_begin, s.q_rows,
                      p.head_dim);
  }
  return quantize_q(load_rows(p.q, head.tensor_b, q_head, s.q_begin, s.q_rows, p.head_dim), head.recipe,
                    spec::is_q16(head.recipe, s.q_rows), head.gains);
}
QuantizedRows k_of(const Problem& p, const KvHead& head) {
  const Sequence& s = head.place.rows;
  if (!p.k.quantized) return quantize_k(head.k_given, head.recipe, head.seen, head.gains);
  return from_codes(p.k, Role::k, head.recipe, head.tensor_b, head.head, head.place.k_scale_place, s.k_begin, s.k_rows,
                    p.head_dim);
}
QuantizedRows v_of(const Problem& p, const KvHead& head) {
  const Sequence& s = head.place.rows;
  if (p.v.quantized) {
    return from_codes(p.v, Role::v, head.recipe, head.tensor_b, head.head, head.place.v_scale_place, s.k_begin,
                      s.k_rows, p.value_dim);
  }
  Matrix rows = head.v_given;
  float amax = 0;
  for (float x : rows.data) amax = spec::grow_amax(amax, x);
  const float unit = spec::takes_v_prescale(head.recipe) ? spec::v_prescale(amax) : 1.0f;
  for (float& x : rows.data) x *= unit;
  QuantizedRows v = quantize_v(std::move(rows), head.recipe, head.seen);
  v.value_unit = unit;
  return v;
}

double sink_of(const Problem& p, std::int64_t b, std::int64_t q_head) {
  if (p.sinks.data == nullptr) return -std::numeric_limits<double>::infinity();
  return read_element(p.sinks.data, p.sinks.dtype, b * p.sinks.strides[0] + q_head * p.sinks.strides[1]);
}

// A row whose keys part into kept ones and a rest.
PartResult result_of_parts(ScoreRow row, const RowFlags& kept, const float* q, const RowPlace& place,
                           const KvHead& head, const PreparedV& v, const Problem& problem, double sink,
                           RowTrace* trace) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (!row.sees_a_key) return {std::vector<double>(v.rows.codes.cols, 0.0), sink};
  const std::vector<double> scores = take_kept_scores(problem, place, q, head.k_given, head.v_given, kept, row);
  bool is_nan = std::isnan(sink) || sink == std::numeric_limits<double>::infinity();
  for (double s : scores) is_nan = is_nan || std::isnan(s) || s == std::numeric_limits<double>::infinity();
  const PartResult rest = result_of_row(row, v, problem, head.recipe, -std::numeric_limits<double>::infinity(), trace);
  if (is_nan || std::isnan(rest.lse)) return {std::vector<double>(v.rows.codes.cols, kNan), kNan};
  return join_sink(join(exact_part(scores, head.v_given, row.range), rest), sink, row.mask_max);
}

void attend_head(const Problem& p, const KvHead& head, std::int64_t q_head, const PreparedK& k, const PreparedV& v,
                 Trace* trace) {
  const Sequence& sequence = head.place.rows;
  const QuantizedRows q = q_of(p, head, q_head);
  const Matrix q_given = floats_of(p.q, head.tensor_b, q_head, sequence.q_begin, sequence.q_rows, p.head_dim);
  const double sink = sink_of(p, head.b, q_head);
  std::vector<double> delta;
  std::vector<std::int64_t> heavy;
  for (std::int64_t row = 0; row < sequence.q_rows; ++row) {
    if (row % spec::kQueryBlock == 0) {
      delta = delta_scores(q, k, row / spec::kQueryBlock, p.softmax_scale);
      heavy = heaviest_keys(head.kept, head.mask, row, std::min(row + spec::kQueryBlock, sequence.q_rows), delta,
                            v.relative_scales, head.seen);
    }
    const RowPlace place{head.b, q_head, row, sequence};
    const ScoreRow scores = scores_of_row(p, place, q, k, delta, head.seen);
    RowTrace row_trace;
    if (trace != nullptr) row_trace = trace->row(head.b, q_head, row);
    RowTrace* traced = trace != nullptr ? &row_trace : nullptr;
    const PartResult result = spec::keeps_any(head.kept)
                                  ? result_of_parts(scores, kept_by_row(head.kept, head.mask, row, heavy, scores.range),
                                                    q_given.row(row), place, head, v, p, sink, traced)
                                  : result_of_row(scores, v, p, head.recipe, sink, traced);
    store_output_row(p.out, head.tensor_b, q_head, sequence.q_begin + row, result.output.data(), p.value_dim);
    if (p.lse != nullptr) {
      p.lse[head.tensor_b * p.lse_strides[0] + q_head * p.lse_strides[1] +
            (sequence.q_begin + row) * p.lse_strides[2]] = static_cast<float>(result.lse);
    }
  }
}

}  // namespace

Status supports(const Problem& p) {
  const Recipe& recipe = p.recipe;
  const bool inputs_take_part = recipe.scores == Format::input || recipe.values == Format::input;
  const Operand& input = recipe.scores == Format::input ? p.q : p.v;
  if (is_tensor_core(recipe.accumulator) && inputs_take_part && input.dtype == DType::f32) {
    return {StatusCode::kUnimplemented, "reference: tensor cores multiply f16 and bf16 inputs, not f32 (recipe " +
                                            to_string(recipe) +
                                            "); hand in 16-bit q, k and v, or use scores=f16, p=f16, values=f16"};
  }
  if (recipe.accumulator == Accumulator::f16 && !recipe.two_level) {
    return {StatusCode::kUnimplemented,
            "reference: accumulator=f16 is implemented with two_level=on only (a fresh sum for each key block)"};
  }
  return {};
}

void attention(const Problem& p, Trace* trace) {
  spec::ScaleCursor q_scale_place(p.q, spec::groups_of(Role::q, p.recipe), p.head_dim, p.varlen());
  spec::ScaleCursor k_scale_place(p.k, spec::groups_of(Role::k, p.recipe), p.head_dim, p.varlen());
  spec::ScaleCursor v_scale_place(p.v, spec::groups_of(Role::v, p.recipe), p.value_dim, p.varlen());
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const Place place{p.sequence(b), q_scale_place.place(), k_scale_place.place(), v_scale_place.place()};
    q_scale_place.pass(place.rows.q_rows);
    k_scale_place.pass(place.rows.k_rows);
    v_scale_place.pass(place.rows.k_rows);
    if (place.rows.q_rows == 0) continue;
    const std::int64_t group = p.q_heads / p.kv_heads;
    for (std::int64_t kv_head = 0; kv_head < p.kv_heads; ++kv_head) {
      const KvHead head = kv_head_of(p, place, b, kv_head);
      const PreparedK k = prepare_k(k_of(p, head), modelled_scores(head.recipe, p.q.dtype));
      const PreparedV v =
          prepare_v(v_of(p, head), modelled_values(head.recipe, p.v.dtype), head.seen, head.recipe.robust);
      for (std::int64_t i = 0; i < group; ++i) attend_head(p, head, kv_head * group + i, k, v, trace);
    }
  }
}

}  // namespace octavo::reference
