// length: how the error depends on the number of keys, the head's size, the scores' spread and sinks: the quantities
// through which a model's size acts on attention.
#include <algorithm>
#include <cmath>

#include "common/output.hpp"
#include "study/closed_forms.hpp"
#include "study/distributions.hpp"
#include "study/grid.hpp"
#include "study/plot.hpp"

namespace octavo::study {
namespace {

using tool::format;

constexpr const char* kRecipes[] = {"int8",      "int8_fast",      "int8_fast,p_reference=running",
                                    "int_flash", "int_flash_half", "sage2_8b",
                                    "fp8_e4m3",  "fp8_e5m2"};

struct Point {
  std::int64_t keys, dim;
  double spread;
};

std::vector<Problem> problems_of(const Options& options, const Distribution& data, const Shape& shape) {
  std::vector<Problem> problems;
  for (int i = 0; i < options.seeds; ++i) {
    problems.push_back(make_problem(data, shape, options.seed + static_cast<std::uint64_t>(i)));
  }
  return problems;
}

Table measured(const Options& options, const std::string& name, const std::vector<Point>& points, std::int64_t rows,
               std::int64_t heads) {
  Table table{name,
              "",
              {{"scheme", "scheme"},
               {"keys", "N"},
               {"dim", "D"},
               {"score_spread", "spread"},
               {"relative_l2", "", 100},
               {"spread", "", 100},
               {"predicted", "", 100},
               {"lse_worst", ""},
               {"zero_codes", ""},
               {"zero_mass", ""}}};
  table.on_page = false;
  for (const Point& point : points) {
    Distribution data{.name = "gaussian"};
    data.score_spread = point.spread;
    options.progress(format("N %lld, D %lld, spread %g", static_cast<long long>(point.keys),
                            static_cast<long long>(point.dim), point.spread));
    const std::vector<Problem> problems = problems_of(options, data, {heads, rows, point.keys, point.dim});
    for (const char* name_of_recipe : kRecipes) {
      const Recipe recipe = composed(name_of_recipe);
      const Summary summary = measure(problems, scheme_of(name_of_recipe));
      const ZeroCodes zeros = zero_codes(problems, recipe);
      table.rows.push_back({name_of_recipe, static_cast<double>(point.keys), static_cast<double>(point.dim),
                            point.spread, summary.mean(&Metrics::relative_l2), summary.spread(&Metrics::relative_l2),
                            predict(recipe, point.spread, point.keys, point.dim).all(),
                            summary.worst(&Metrics::lse_worst), zeros.share, zeros.mass});
    }
  }
  return table;
}

Table sinks(const Options& options, const Shape& shape) {
  Table table{"sinks", "", {{"scheme", "scheme"}, {"nats", "nats"}, {"value", "value"}, {"relative_l2", "", 100}}};
  table.on_page = false;
  for (const double value : {1.0, 0.02}) {
    for (const double nats : {3.0, 6.0, 8.0, 10.0, 12.0}) {
      Distribution data{.name = "sink"};
      data.sink_nats = nats, data.sink_value = value;
      options.progress(format("sink of %g nats", nats));
      const std::vector<Problem> problems = problems_of(options, data, shape);
      for (const char* recipe : kRecipes) {
        const Summary summary = measure(problems, scheme_of(recipe));
        table.rows.push_back(
            {recipe, format("%g nats, value x %g", nats, value), value, summary.mean(&Metrics::relative_l2)});
      }
    }
  }
  return table;
}

// One line for each recipe over a column.
Plot lines(const Table& table, const char* name, const char* title, const char* x_label, std::size_t x, bool log_x,
           bool predicted) {
  LinePlot plot{title, x_label, "relative L2, %"};
  plot.log_x = log_x, plot.log_y = true;
  for (const char* recipe : kRecipes) {
    Series series{recipe};
    for (const auto& row : table.rows) {
      if (row[0].text == recipe) series.points.emplace_back(row[x].number, 100 * row[predicted ? 6 : 4].number);
    }
    plot.series.push_back(std::move(series));
  }
  return {name, to_svg(plot)};
}

double largest_over_smallest(const Table& table, const char* recipe, double most_keys) {
  double least = 1e300, most = 0;
  for (const auto& row : table.rows) {
    if (row[0].text != recipe || row[1].number > most_keys) continue;
    least = std::min(least, row[4].number), most = std::max(most, row[4].number);
  }
  return most / least;
}

// The largest distance between prediction and measurement, as a factor.
double worst_prediction(const Table& table) {
  double worst = 1;
  for (const auto& row : table.rows) {
    const double ratio = row[6].number / row[4].number;
    worst = std::max({worst, ratio, 1 / ratio});
  }
  return worst;
}

}  // namespace

Report run_length(const Options& options) {
  const std::int64_t rows = 32, heads = options.quick ? 1 : 2;
  std::vector<std::int64_t> lengths;
  for (std::int64_t keys = 1024; keys <= (options.quick ? 4096 : 131072); keys *= 2) lengths.push_back(keys);
  std::vector<Point> by_keys, by_dim, by_spread;
  for (const std::int64_t keys : lengths) by_keys.push_back({keys, 64, 1});
  const std::int64_t usual = options.quick ? 1024 : 4096;
  for (const std::int64_t dim : {64, 128, 256}) by_dim.push_back({usual, dim, 1});
  for (const double spread : {0.5, 1.0, 1.5, 2.0, 3.0}) by_spread.push_back({usual, 64, spread});

  const Table keys = measured(options, "keys", by_keys, rows, heads);
  const Table dims = measured(options, "dims", by_dim, rows, heads);
  const Table spreads = measured(options, "spreads", by_spread, rows, heads);
  const Table sink = sinks(options, {heads, rows, usual, 64});

  Report report;
  const double flat = largest_over_smallest(keys, "int8", 65536), grows = largest_over_smallest(keys, "int_flash", 1e9);
  report.answer = format(
      "With codes of P relative to each key block's maximum the error does not depend on the number of keys: from 1k "
      "to "
      "%lldk `int8` varies by a factor of %.2f. Relative to the running maximum it grows: `int_flash` by %.2f. A "
      "larger "
      "model acts through the spread of its scores, D and its sinks, not through its number of heads.",
      static_cast<long long>(lengths.back() / 1024), largest_over_smallest(keys, "int8", 1e9), grows);
  report.bars = {{"`int8` on Gaussian data, N 1k to 64k: largest over smallest error", flat, 1.15, true},
                 {"closed forms, N 1k to 128k: largest factor between predicted and measured", worst_prediction(keys),
                  1.35, true}};
  report.method = format(
      "%lld heads, %lld query rows, %d seeds from %llu, N(0, 1); where not swept N = %lld, D = 64, "
      "spread of the scores 1. Predicted: closed forms from the recipe alone (study/closed_forms.cpp).",
      static_cast<long long>(heads), static_cast<long long>(rows), options.seeds,
      static_cast<unsigned long long>(options.seed), static_cast<long long>(usual));
  report.plots = {lines(keys, "keys", "Measured, N(0, 1), D 64", "keys", 1, true, false),
                  lines(keys, "predicted", "Predicted by closed forms", "keys", 1, true, true),
                  lines(spreads, "spread", "Scores of different spread, N 4096, D 64",
                        "standard deviation of the scores", 3, false, false)};
  const std::string unit = "relative L2, %.";
  report.tables = {
      keys,
      dims,
      spreads,
      sink,
      pivot(keys, "scheme", "keys", "relative_l2", "by_keys", "By N, D 64, " + unit, 100),
      pivot(keys, "scheme", "keys", "predicted", "by_keys_predicted", "The same, predicted, %.", 100),
      pivot(keys, "scheme", "keys", "zero_codes", "by_keys_zeros", "Share of P's codes that are zero, %.", 100),
      pivot(dims, "scheme", "dim", "relative_l2", "by_dim", "By D, " + unit, 100),
      pivot(spreads, "scheme", "score_spread", "relative_l2", "by_score_spread",
            "By the standard deviation of the scores, " + unit, 100),
      pivot(spreads, "scheme", "score_spread", "predicted", "by_score_spread_predicted", "The same, predicted, %.",
            100),
      pivot(sink, "scheme", "nats", "relative_l2", "by_sink", "By the sink, " + unit, 100)};
  return report;
}

}  // namespace octavo::study
