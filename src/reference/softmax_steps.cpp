// The definitions of P, V, their product and the row sum for each recipe field.
#include "reference/softmax_steps.hpp"

#include <algorithm>
#include <cmath>

#include "core/float_types.hpp"
#include "spec/fold.hpp"
#include "spec/rotation.hpp"
#include "spec/stray_rows.hpp"

namespace octavo::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double rounded_to_f16(double x) { return f16_to_f32(f32_to_f16(static_cast<float>(x))); }

double rounded_to_bf16(double x) { return bf16_to_f32(f32_to_bf16(static_cast<float>(x))); }

// The code of a weight p = 2^(T - reference), R p before rounding.
double weight_code(double p, const Recipe& recipe, DType inputs) {
  const double scaled = p * recipe.p_range;
  switch (recipe.p) {
    case WeightFormat::input:
      return inputs == DType::f16 ? rounded_to_f16(scaled) : inputs == DType::bf16 ? rounded_to_bf16(scaled) : scaled;
    case WeightFormat::f16:
      return rounded_to_f16(scaled);
    case WeightFormat::s8:
    case WeightFormat::u8:
    case WeightFormat::u16:
      return std::nearbyint(scaled);  // half to even
    case WeightFormat::e4m3:
      return e4m3_to_f32(f32_to_e4m3(static_cast<float>(scaled)));
    case WeightFormat::e5m2:
      return e5m2_to_f32(f32_to_e5m2(static_cast<float>(scaled)));
  }
  return scaled;
}

// The block's codes of P for the model. A key that the row may not attend to is not even multiplied by 0.
std::vector<spec::Factor> weight_factors(const BlockWeights& weights, const ModelledProduct& model) {
  std::vector<spec::Factor> factors;
  for (std::size_t j = 0; j < weights.codes.size(); ++j) {
    factors.push_back(weights.attends[j] ? spec::factor_of(static_cast<float>(weights.codes[j]), model.left_exponent)
                                         : spec::kAbsentFactor);
  }
  return factors;
}

// c + sum_j c_j V_jd of one channel, over the block that starts at key `first`.
float modelled_sum(const std::vector<spec::Factor>& weights, const PreparedV& v, std::int64_t first, std::size_t d,
                   float c) {
  const spec::Factor* channel = v.factors.data() + static_cast<std::int64_t>(d) * v.rows.codes.rows + first;
  return spec::fused_dot(weights.data(), channel, static_cast<std::int64_t>(weights.size()), c, v.model->law);
}

// Keys whose products one instruction sums before an f16 accumulator rounds: 32 of 8 bits, 16 of 16.
std::int64_t keys_of_an_instruction(Format values) { return values == Format::f16 ? 16 : 32; }

}  // namespace

PreparedV prepare_v(QuantizedRows v, std::optional<ModelledProduct> model, const RowFlags& seen, bool robust) {
  PreparedV result;
  result.model = model;
  if (model) result.factors = factors_by_channel(v.codes, model->right_exponent);
  if (v.scales.groups.granularity == Granularity::token_folded) {
    const auto scale_of = [&](std::int64_t j) { return flag(seen, j) ? spec::scale_to_fold(v.scales.at(j, 0)) : 0.0f; };
    spec::ExponentHistogram magnitudes;
    for (std::int64_t j = 0; j < v.codes.rows; ++j) spec::add_row(magnitudes, scale_of(j));
    const std::uint32_t limit = robust ? spec::exponent_limit(magnitudes) : spec::kAnyExponent;
    double largest = 0, largest_of_all = 0;
    for (std::int64_t j = 0; j < v.codes.rows; ++j) {
      result.relative_scales.push_back(static_cast<double>(scale_of(j)));
      largest_of_all = spec::grow_largest_scale(largest_of_all, result.relative_scales.back());
      if (!spec::is_stray(scale_of(j), limit)) {
        largest = spec::grow_largest_scale(largest, result.relative_scales.back());
      }
    }
    result.largest_scale = spec::largest_scale_or_one(spec::bounded_largest_scale(largest, largest_of_all));
    for (double& scale : result.relative_scales) scale = spec::folded_scale(scale, result.largest_scale);
  }
  result.rows = std::move(v);
  return result;
}

BlockWeights weights_of_block(std::span<const double> scores, std::span<const double> relative_scales,
                              double running_maximum, const Recipe& recipe, DType inputs) {
  BlockWeights result;
  result.codes.assign(scores.size(), 0.0);
  for (double s : scores) result.attends.push_back(s != -kInfinity);
  result.maximum = running_maximum;

  // r, the block's maximum of S, is taken off before b joins: beside a huge mask S + b would lose b.
  double r = -kInfinity;
  for (double s : scores) r = std::max(r, s);
  if (r == -kInfinity) return result;
  result.visible = true;
  const auto relative_scale = [&](std::size_t j) { return relative_scales.empty() ? 1.0 : relative_scales[j]; };
  std::vector<double> t(scores.size());
  double t_max = -kInfinity;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    t[j] = (scores[j] - r) + std::log2(relative_scale(j));
    t_max = std::max(t_max, t[j]);
  }
  result.maximum = std::max(running_maximum, t_max + r);
  const bool running = recipe.p_reference == MaximumReference::running;
  const double reference = running && t_max + r < running_maximum ? running_maximum - r : t_max;
  // Not (M - r) + r: scores of 1e30 round it away from M by more than exp2 can take.
  result.reference = running ? result.maximum : t_max + r;

  for (std::size_t j = 0; j < scores.size(); ++j) {
    if (!result.attends[j]) continue;
    const double p = std::exp2(t[j] - reference);
    result.codes[j] = weight_code(p, recipe, inputs);
    result.sum += (recipe.row_sum == RowSum::codes ? result.codes[j] / recipe.p_range : p) / relative_scale(j);
  }
  return result;
}

std::vector<double> value_product(const BlockWeights& weights, const PreparedV& v, std::int64_t first,
                                  const Recipe& recipe) {
  const Matrix& codes = v.rows.codes;
  const Granularity granularity = recipe.v_scale;
  const bool scale_by_token = granularity == Granularity::token;
  const std::int64_t keys = static_cast<std::int64_t>(weights.codes.size());
  const std::int64_t step = recipe.accumulator == Accumulator::f16 ? keys_of_an_instruction(recipe.values) : keys;

  std::vector<double> product(static_cast<std::size_t>(codes.cols), 0.0), dot(product.size());
  if (v.model) {
    const std::vector<spec::Factor> factors = weight_factors(weights, *v.model);
    for (std::size_t d = 0; d < product.size(); ++d) product[d] = modelled_sum(factors, v, first, d, 0.0f);
  }
  for (std::int64_t begin = 0; begin < keys && !v.model; begin += step) {
    std::fill(dot.begin(), dot.end(), 0.0);
    for (std::int64_t j = begin; j < std::min(keys, begin + step); ++j) {
      if (!weights.attends[static_cast<std::size_t>(j)]) continue;
      double weight = weights.codes[static_cast<std::size_t>(j)];
      if (scale_by_token) weight *= v.rows.scales.at(first + j, 0);
      const float* row = codes.row(first + j);
      for (std::size_t d = 0; d < dot.size(); ++d) dot[d] += weight * row[d];
    }
    for (std::size_t d = 0; d < dot.size(); ++d) {
      product[d] += dot[d];
      if (recipe.accumulator == Accumulator::f16) product[d] = rounded_to_f16(product[d]);
    }
  }
  // One scale for the whole block, or one per channel; the fold's is in the weights.
  if (granularity != Granularity::token_folded && !scale_by_token) {
    for (std::size_t d = 0; d < product.size(); ++d) {
      product[d] *= v.rows.scales.at(first, static_cast<std::int64_t>(d));
    }
  }
  return product;
}

void accumulate_block(RowState& state, const BlockWeights& weights, const PreparedV& v, std::int64_t first,
                      const Recipe& recipe) {
  const double alpha = std::exp2(state.maximum - weights.maximum);
  state.maximum = weights.maximum;
  state.sum = state.sum * alpha + weights.sum;
  const std::vector<spec::Factor> factors = weight_factors(weights, *v.model);
  const bool folded = recipe.v_scale == Granularity::token_folded;  // its scale is in the weights
  for (std::size_t d = 0; d < state.output.size(); ++d) {
    const double scale = folded ? 1.0 : v.rows.scales.at(first, static_cast<std::int64_t>(d));
    const double unit = scale / recipe.p_range;
    const auto c = static_cast<float>(state.output[d] * alpha / unit);
    state.output[d] = unit * modelled_sum(factors, v, first, d, c);
  }
}

void add_block(RowState& state, const BlockWeights& weights, const std::vector<double>& product, const Recipe& recipe) {
  const double alpha = std::exp2(state.maximum - weights.maximum);  // 0 at the first block
  const double beta = std::exp2(weights.reference - weights.maximum);
  state.maximum = weights.maximum;
  state.sum = state.sum * alpha + beta * weights.sum;
  for (std::size_t d = 0; d < product.size(); ++d) {
    state.output[d] = state.output[d] * alpha + beta / recipe.p_range * product[d];
  }
}

double add_sink(RowState& state, double sink) {
  if (sink == -kInfinity) return 0;
  if (!(sink <= state.maximum)) {  // also NaN
    const double alpha = std::exp2(state.maximum - sink);
    state.sum *= alpha;
    for (double& o : state.output) o *= alpha;
    state.maximum = sink;
  }
  const double weight = std::exp2(sink - state.maximum);
  state.sum += weight;
  return weight / state.sum;
}

void finish_output(RowState& state, const PreparedV& v, const Recipe& recipe, double sink_share) {
  std::vector<double>& o = state.output;
  const std::int64_t dim = static_cast<std::int64_t>(o.size());
  const double factor = v.largest_scale * v.rows.value_divisor / state.sum;
  for (std::int64_t d = 0; d < dim; ++d) {
    double& value = o[static_cast<std::size_t>(d)];
    value *= factor;
    if (!v.rows.means.empty()) value += v.rows.means.at(0, d) * (1 - sink_share);
    if (!v.rows.gains.empty()) value *= v.rows.gains[static_cast<std::size_t>(d)];
  }
  if (recipe.hadamard_v) spec::rotate_row_back(o.data(), dim);
  for (double& value : o) value /= v.rows.value_unit;
}

}  // namespace octavo::reference
