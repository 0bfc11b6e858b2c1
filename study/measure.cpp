// Calls of octavo::attention in the HND layout with a batch of one; outputs are f32, so that nothing but the recipe
// rounds them.
#include "study/measure.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "common/elements.hpp"
#include "common/error_metrics.hpp"
#include "common/failure.hpp"
#include "common/timing.hpp"
#include "octavo/attention.hpp"
#include "octavo/implementation.hpp"

namespace octavo::study {
namespace {

constexpr double kMreFloor = 1e-5;  // of the paper's released helper

TensorView batch_of_one(const TensorView& x) {
  return TensorView(x.data, x.dtype, {1, x.shape[0], x.shape[1], x.shape[2]});
}

std::vector<double> values_of(const Summary& summary, double Metrics::* metric) {
  std::vector<double> values;
  for (const Metrics& sample : summary.samples) values.push_back(sample.*metric);
  return values;
}

void in_full_precision_qk(Recipe& recipe) {
  recipe.scores = Format::input;
  recipe.q_scale = recipe.k_scale = Granularity::none;
  recipe.q_group = 32, recipe.k_group = 64;
  recipe.hadamard = recipe.smooth_q = recipe.smooth_k = recipe.qk_gains = false;
}

void in_full_precision_p(Recipe& recipe) {
  recipe.p = WeightFormat::input;
  recipe.p_range = 1;
}

void in_full_precision_v(Recipe& recipe) {
  recipe.values = Format::input;
  recipe.v_scale = Granularity::none;
  recipe.v_range = 0;
  recipe.hadamard_v = recipe.smooth_v = recipe.channel_gains = false;
}

}  // namespace

Output run(const Problem& problem, const Recipe& recipe, const std::string& implementation) {
  const std::int64_t heads = problem.heads(), rows = problem.q().shape[1], value_dim = problem.v().shape[2];
  std::vector<float> out(static_cast<std::size_t>(heads * rows * value_dim));
  std::vector<float> lse(static_cast<std::size_t>(heads * rows));
  AttentionInputs inputs;
  inputs.layout = Layout::hnd;
  inputs.q = batch_of_one(problem.q());
  inputs.k = batch_of_one(problem.k());
  inputs.v = batch_of_one(problem.v());
  inputs.out = {out.data(), DType::f32, {1, heads, rows, value_dim}};
  inputs.lse = {lse.data(), DType::f32, {1, heads, rows}};
  AttentionParams params;
  params.recipe = recipe;
  params.causal = problem.causal() ? Causal::bottom_right : Causal::none;
  Execution execution;
  execution.implementation = implementation;
  Status status = attention(inputs, params, execution);
  if (status.code() == StatusCode::kUnimplemented && implementation.empty()) {
    execution.implementation = "reference";
    status = attention(inputs, params, execution);
  }
  tool::require(status);
  return {{out.begin(), out.end()}, {lse.begin(), lse.end()}, std::string(last_implementation())};
}

Metrics metrics_of(const Problem& problem, const Output& output, std::int64_t first, std::int64_t last) {
  const auto size = output.out.size() / static_cast<std::size_t>(problem.heads());
  const auto begin = static_cast<std::size_t>(first), heads = static_cast<std::size_t>(last - first);
  const auto a = std::span(output.out).subspan(begin * size, heads * size);
  const auto b = std::span(problem.out()).subspan(begin * size, heads * size);
  const tool::ErrorMetrics errors = tool::compare(a, b);
  Metrics metrics;
  metrics.relative_l2 = errors.relative_l2;
  metrics.cosine = errors.cosine;
  metrics.relative_l1 = errors.relative_l1;
  metrics.max_abs = errors.max_abs;
  double ab = 0, bb = 0, mre = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i], bb += b[i] * b[i];
    mre += std::fabs(a[i] - b[i]) / (std::fabs(b[i]) + kMreFloor);
  }
  metrics.bias = ab / bb - 1;
  metrics.mre = mre / static_cast<double>(a.size());
  metrics.lse = metrics.lse_worst = std::numeric_limits<double>::quiet_NaN();
  if (!output.lse.empty()) {
    const auto rows = output.lse.size() / static_cast<std::size_t>(problem.heads());
    double sum = 0, worst = 0;
    for (std::size_t i = begin * rows; i < (begin + heads) * rows; ++i) {
      const double error = std::fabs(output.lse[i] - problem.lse()[i]);
      sum += error, worst = std::max(worst, error);
    }
    metrics.lse = sum / static_cast<double>(heads * rows), metrics.lse_worst = worst;
  }
  return metrics;
}

double Summary::mean(double Metrics::* metric) const {
  double sum = 0;
  for (const Metrics& sample : samples) sum += sample.*metric;
  return sum / static_cast<double>(samples.size());
}

double Summary::spread(double Metrics::* metric) const {
  if (samples.size() < 2) return 0;
  const double center = mean(metric);
  double sum = 0;
  for (const Metrics& sample : samples) sum += (sample.*metric - center) * (sample.*metric - center);
  return std::sqrt(sum / static_cast<double>(samples.size() - 1));
}

double Summary::median(double Metrics::* metric) const { return tool::median(values_of(*this, metric)); }

double Summary::worst(double Metrics::* metric) const {
  const std::vector<double> values = values_of(*this, metric);
  return *std::max_element(values.begin(), values.end());
}

Scheme scheme_of(const std::string& recipe) {
  const Recipe parsed = composed(recipe);
  return [parsed](const Problem& problem) { return run(problem, parsed); };
}

Summary measure(const std::vector<Problem>& problems, const Scheme& scheme, bool by_head) {
  Summary summary;
  for (const Problem& problem : problems) {
    const Output output = scheme(problem);
    summary.implementation = output.implementation;
    const std::int64_t step = by_head ? 1 : problem.heads();
    for (std::int64_t head = 0; head < problem.heads(); head += step) {
      summary.samples.push_back(metrics_of(problem, output, head, head + step));
    }
  }
  return summary;
}

const char* to_string(Part part) {
  constexpr const char* kNames[] = {"all", "QK", "P", "V"};
  return kNames[static_cast<int>(part)];
}

Recipe only(Recipe recipe, Part part) {
  if (part == Part::all) return recipe;
  recipe.keep_first = recipe.keep_near = recipe.keep_heavy = 0;  // the source of error alone, at every key
  recipe.accumulator = Accumulator::f32;
  if (part != Part::qk) in_full_precision_qk(recipe);
  if (part != Part::v) in_full_precision_v(recipe);
  if (part != Part::p) {
    in_full_precision_p(recipe);
    if (part == Part::qk) recipe.p_reference = MaximumReference::running;
    recipe.row_sum = RowSum::weights;
  }
  tool::require(check_recipe(recipe));
  return recipe;
}

Recipe composed(const std::string& preset, const std::string& fields) {
  Recipe recipe = tool::value_of(parse_recipe(preset));
  std::size_t begin = 0;
  while (begin < fields.size()) {
    const std::size_t end = std::min(fields.find(',', begin), fields.size());
    const std::string field = fields.substr(begin, end - begin);
    const std::size_t equal = field.find('=');
    tool::require(set_recipe_field(recipe, field.substr(0, equal), field.substr(equal + 1)));
    begin = end + 1;
  }
  tool::require(check_recipe(recipe));
  return recipe;
}

std::vector<Column> metric_columns() {
  return {{"relative_l2", "relative L2 %", 100},
          {"spread", "+- %", 100},
          {"median_l2", "", 1},
          {"worst_l2", "", 1},
          {"cosine", "", 1},
          {"relative_l1", "relative L1 %", 100},
          {"mre", "MRE %", 100},
          {"max_abs", "", 1},
          {"bias", "bias %", 100},
          {"lse", "", 1},
          {"lse_worst", "LSE, worst", 1},
          {"samples", "", 1},
          {"implementation", "", 1}};
}

std::vector<Cell> metric_cells(const Summary& summary) {
  double worst_lse = std::numeric_limits<double>::quiet_NaN();
  if (!std::isnan(summary.samples.front().lse)) worst_lse = summary.worst(&Metrics::lse_worst);
  return {summary.mean(&Metrics::relative_l2),
          summary.spread(&Metrics::relative_l2),
          summary.median(&Metrics::relative_l2),
          summary.worst(&Metrics::relative_l2),
          summary.mean(&Metrics::cosine),
          summary.mean(&Metrics::relative_l1),
          summary.mean(&Metrics::mre),
          summary.worst(&Metrics::max_abs),
          summary.mean(&Metrics::bias),
          summary.mean(&Metrics::lse),
          worst_lse,
          static_cast<double>(summary.samples.size()),
          summary.implementation};
}

}  // namespace octavo::study
