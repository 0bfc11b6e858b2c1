// The oracle: every row of every head on its own, key blocks in ascending order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>

#include "reference/operand.hpp"
#include "reference/quantize_steps.hpp"
#include "reference/reference.hpp"
#include "reference/score_steps.hpp"
#include "reference/softmax_steps.hpp"
#include "reference/tensor_core.hpp"
#include "reference/trace.hpp"
#include "spec/q16.hpp"
#include "spec/scale.hpp"
#include "spec/v_prescale.hpp"

namespace octavo::reference {
namespace {

// O [Dv] and the LSE of one row.
struct RowResult {
  std::vector<double> output;
  double lse = -std::numeric_limits<double>::infinity();
};

RowResult attend(const ScoreRow& row, const PreparedV& v, const Problem& problem, double sink, RowTrace* trace) {
  const Recipe& recipe = problem.recipe;
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
  const double sink_share = add_sink(state, (sink - row.shift) * std::numbers::log2e);
  RowResult result;
  // Counted from the larger of the two, so that a mask of finfo.min cannot swallow the sink's digits.
  result.lse = state.maximum == seen_maximum ? (state.maximum + std::log2(state.sum)) * std::numbers::ln2 + row.shift
                                             : sink + std::log(state.sum);
  finish_output(state, v, recipe, sink_share);
  result.output = std::move(state.output);
  return result;
}

// Whether a token whose scale is NaN takes part: its weight cannot be told, so the row cannot.
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

RowResult result_of_row(const ScoreRow& row, const PreparedV& v, const Problem& problem, double sink, RowTrace* trace) {
  const auto dim = static_cast<std::size_t>(v.rows.codes.cols);
  if (trace != nullptr) trace->record_scores(row, v);
  if (!row.sees_a_key) return {std::vector<double>(dim, 0.0), sink};
  if (row.is_nan || std::isnan(sink) || sink == std::numeric_limits<double>::infinity() ||
      sees_a_broken_value(row, v)) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    if (trace != nullptr) trace->record_nan();
    return {std::vector<double>(dim, kNan), kNan};
  }
  return attend(row, v, problem, sink, trace);
}

// A sequence of the batch: its rows, and where the scales and means of the caller's codes lie.
struct Place {
  Sequence rows;
  spec::ScalePlace q_scale_place, k_scale_place, v_scale_place;
};

QuantizedRows head_of_q(const Problem& p, const Place& place, std::int64_t b, std::int64_t h) {
  const Sequence& s = place.rows;
  if (p.q.quantized) {
    return from_codes(p.q, Role::q, p.recipe, b, h, place.q_scale_place, s.q_begin, s.q_rows, p.head_dim);
  }
  return quantize_q(load_rows(p.q, b, h, s.q_begin, s.q_rows, p.head_dim), p.recipe, spec::is_q16(p.recipe, s.q_rows));
}
QuantizedRows head_of_k(const Problem& p, const Place& place, std::int64_t b, std::int64_t h) {
  const Sequence& s = place.rows;
  if (p.k.quantized) {
    return from_codes(p.k, Role::k, p.recipe, b, h, place.k_scale_place, s.k_begin, s.k_rows, p.head_dim);
  }
  return quantize_k(load_rows(p.k, b, h, s.k_begin, s.k_rows, p.head_dim), p.recipe);
}
QuantizedRows head_of_v(const Problem& p, const Place& place, std::int64_t b, std::int64_t h) {
  const Sequence& s = place.rows;
  if (p.v.quantized) {
    return from_codes(p.v, Role::v, p.recipe, b, h, place.v_scale_place, s.k_begin, s.k_rows, p.value_dim);
  }
  Matrix rows = load_rows(p.v, b, h, s.k_begin, s.k_rows, p.value_dim);
  float amax = 0;
  for (float x : rows.data) amax = spec::grow_amax(amax, x);
  const float unit = spec::takes_v_prescale(p.recipe) ? spec::v_prescale(amax) : 1.0f;
  for (float& x : rows.data) x *= unit;
  QuantizedRows v = quantize_v(std::move(rows), p.recipe);
  v.value_unit = unit;
  return v;
}

void attend_head(const Problem& p, const Place& place, std::int64_t b, std::int64_t q_head, const PreparedK& k,
                 const PreparedV& v, Trace* trace) {
  const Sequence& sequence = place.rows;
  // Packed sequences have no batch axis of their own.
  const std::int64_t tensor_b = p.varlen() ? 0 : b;
  const QuantizedRows q = head_of_q(p, place, tensor_b, q_head);
  double sink = -std::numeric_limits<double>::infinity();
  if (p.sinks.data != nullptr) {
    sink = read_element(p.sinks.data, p.sinks.dtype, b * p.sinks.strides[0] + q_head * p.sinks.strides[1]);
  }
  std::vector<double> delta;
  for (std::int64_t row = 0; row < sequence.q_rows; ++row) {
    if (row % spec::kQueryBlock == 0) delta = delta_scores(q, k, row / spec::kQueryBlock, p.softmax_scale);
    const ScoreRow scores = scores_of_row(p, {b, q_head, row, sequence}, q, k, delta);
    RowTrace row_trace;
    if (trace != nullptr) row_trace = trace->row(b, q_head, row);
    const RowResult result = result_of_row(scores, v, p, sink, trace != nullptr ? &row_trace : nullptr);
    store_output_row(p.out, tensor_b, q_head, sequence.q_begin + row, result.output.data(), p.value_dim);
    if (p.lse != nullptr) {
      p.lse[tensor_b * p.lse_strides[0] + q_head * p.lse_strides[1] + (sequence.q_begin + row) * p.lse_strides[2]] =
          static_cast<float>(result.lse);
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
    const std::int64_t tensor_b = p.varlen() ? 0 : b;
    const std::int64_t group = p.q_heads / p.kv_heads;
    for (std::int64_t kv_head = 0; kv_head < p.kv_heads; ++kv_head) {
      const PreparedK k = prepare_k(head_of_k(p, place, tensor_b, kv_head), modelled_scores(p.recipe, p.q.dtype));
      const PreparedV v = prepare_v(head_of_v(p, place, tensor_b, kv_head), modelled_values(p.recipe, p.v.dtype));
      for (std::int64_t i = 0; i < group; ++i) attend_head(p, place, b, kv_head * group + i, k, v, trace);
    }
  }
}

}  // namespace octavo::reference
