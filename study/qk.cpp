// qk: how Q and K are represented, with everything after the scores in full precision: granularity, smoothing,
// rotation, 8 or 4 bits, and rows of different size (the condition under which a scale per token pays).
#include <cmath>

#include "common/output.hpp"
#include "study/distributions.hpp"
#include "study/grid.hpp"
#include "study/group_scales.hpp"
#include "study/plot.hpp"

namespace octavo::study {
namespace {

using tool::format;

constexpr const char* kGranularities[] = {"tensor", "block", "warp", "thread", "token"};

struct Smoothing {
  const char* name;
  bool rotate, q, k, gains;
};
constexpr Smoothing kSmoothings[] = {
    {"none", false, false, false, false},    {"K", false, false, true, false},
    {"Q", false, true, false, false},        {"Q and K", false, true, true, false},
    {"rotation", true, false, false, false}, {"Q, K, rotation", true, true, true, false},
};

const char* word(bool on) { return on ? "on" : "off"; }

std::string fields_of(const char* granularity, const Smoothing& smoothing, bool four_bits) {
  return format("scores=%s,q_scale=%s,k_scale=%s,hadamard=%s,smooth_q=%s,smooth_k=%s,qk_gains=%s",
                four_bits ? "s4" : "s8", granularity, granularity, word(smoothing.rotate), word(smoothing.q),
                word(smoothing.k), word(smoothing.gains));
}

Scheme qk_scheme(const std::string& fields) {
  const Recipe recipe = only(composed("int8_fast", fields), Part::qk);
  return [recipe](const Problem& problem) { return run(problem, recipe); };
}

Scheme group_scheme(const Smoothing& smoothing, bool four_bits) {
  GroupScales options;
  options.channels = 32, options.range = four_bits ? 7 : 127;
  options.rotate = smoothing.rotate, options.smooth_q = smoothing.q, options.smooth_k = smoothing.k;
  return [options](const Problem& problem) { return group_attention(problem, options); };
}

// "s8 token, Q and K"
std::string name_of(bool four_bits, const std::string& granularity, const std::string& smoothing) {
  return std::string(four_bits ? "s4 " : "s8 ") + granularity + ", " + smoothing;
}

std::vector<NamedScheme> schemes() {
  std::vector<NamedScheme> all;
  for (const bool four_bits : {false, true}) {
    for (const Smoothing& smoothing : kSmoothings) {
      for (const char* granularity : kGranularities) {
        all.push_back(
            {name_of(four_bits, granularity, smoothing.name), qk_scheme(fields_of(granularity, smoothing, four_bits))});
      }
      all.push_back({name_of(four_bits, "group of 32", smoothing.name), group_scheme(smoothing, four_bits)});
    }
    const Smoothing with_gains{"Q, K, rotation, gains", true, true, true, true};
    all.push_back({name_of(four_bits, "token", with_gains.name), qk_scheme(fields_of("token", with_gains, four_bits))});
  }
  return all;
}

// Relative L2 against the spread of the rows' sizes.
Table heterogeneity(const Options& options, const Shape& shape) {
  Table table{"heterogeneity", "", {{"scheme", "scheme"}, {"row_spread", "spread"}, {"relative_l2", "", 100}}};
  table.on_page = false;
  for (const double spread : {0.0, 0.25, 0.5, 1.0, 1.5}) {
    Distribution data{.name = format("rows of spread %g", spread)};
    data.row_spread = spread;
    options.progress(data.name);
    std::vector<Problem> problems;
    for (int i = 0; i < options.seeds; ++i) {
      problems.push_back(make_problem(data, shape, options.seed + static_cast<std::uint64_t>(i)));
    }
    for (const char* granularity : kGranularities) {
      const Summary summary = measure(problems, qk_scheme(fields_of(granularity, kSmoothings[0], false)));
      table.rows.push_back({granularity, spread, summary.mean(&Metrics::relative_l2)});
    }
    const Summary group = measure(problems, group_scheme(kSmoothings[0], false));
    table.rows.push_back({"group of 32", spread, group.mean(&Metrics::relative_l2)});
  }
  return table;
}

Plot heterogeneity_plot(const Table& table) {
  LinePlot plot{"s8 Q and K, rows of different size", "standard deviation of the logarithm of the rows' sizes",
                "relative L2, %"};
  plot.log_y = true;
  for (const auto& row : table.rows) {
    if (row[1].number == 0) plot.series.push_back({row[0].text});
    for (Series& series : plot.series) {
      if (series.name == row[0].text) series.points.emplace_back(row[1].number, 100 * row[2].number);
    }
  }
  return {"heterogeneity", to_svg(plot)};
}

// A table of smoothing by granularity of one data set.
Table by_granularity(const Table& errors, bool four_bits, const std::string& data) {
  Table table{std::string(four_bits ? "s4_" : "s8_") + data,
              std::string(four_bits ? "s4" : "s8") + " Q and K on " + data + " data, relative L2, %.",
              {{"smoothing", "smoothing"}}};
  std::vector<std::string> granularities(std::begin(kGranularities), std::end(kGranularities));
  granularities.push_back("group of 32");
  for (const std::string& each : granularities) table.columns.push_back({each, each, 100});
  for (const Smoothing& smoothing : kSmoothings) {
    std::vector<Cell> row{smoothing.name};
    for (const std::string& each : granularities) {
      row.push_back(figure(errors, name_of(four_bits, each, smoothing.name), data));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Plot smoothing_plot(const Table& errors, const std::string& data) {
  BarPlot plot{"Q and K in s8 and s4, a scale per token, " + data, "relative L2, %"};
  plot.log = true;
  for (const Smoothing& smoothing : kSmoothings) plot.groups.push_back(smoothing.name);
  for (const bool four_bits : {false, true}) {
    std::vector<double> values;
    for (const Smoothing& smoothing : kSmoothings) {
      values.push_back(100 * figure(errors, name_of(four_bits, "token", smoothing.name), data));
    }
    plot.series.emplace_back(four_bits ? "s4" : "s8", std::move(values));
  }
  return {"smoothing", to_svg(plot)};
}

}  // namespace

Report run_qk(const Options& options) {
  const Shape shape = options.quick ? Shape{2, 32, 256, 64} : Shape{2, 128, 2048, 64};
  const std::vector<DataSet> data = data_sets(options, {"gaussian", "k_bias", "outliers"}, shape);
  const Table errors = grid("errors", schemes(), data, options);
  const std::string last = data.back().name;
  const auto error = [&](const std::string& scheme) { return short_number(100 * figure(errors, scheme, last)); };

  Report report;
  report.method = said(options, shape) + " Weights and V in full precision.";
  report.answer = format(
      "On %s, with a scale per token, s8 Q and K cost %s %% of error, smoothed %s %%, rotated %s %%, "
      "both %s %%; in s4 %s %%, %s %%, %s %% and %s %%.",
      last.c_str(), error("s8 token, none").c_str(), error("s8 token, Q and K").c_str(),
      error("s8 token, rotation").c_str(), error("s8 token, Q, K, rotation").c_str(), error("s4 token, none").c_str(),
      error("s4 token, Q and K").c_str(), error("s4 token, rotation").c_str(),
      error("s4 token, Q, K, rotation").c_str());
  report.tables = {errors};
  for (const bool four_bits : {false, true}) {
    for (const DataSet& set : data) report.tables.push_back(by_granularity(errors, four_bits, set.name));
  }
  report.plots = {smoothing_plot(errors, last)};
  if (options.captures.empty()) {
    const Table spread = heterogeneity(options, shape);
    const auto at = [&](const char* granularity, double rows) {
      for (const auto& row : spread.rows) {
        if (row[0].text == granularity && row[1].number == rows) return row[2].number;
      }
      return std::nan("");
    };
    report.answer += format(
        " A scale per token pays where rows differ: with sizes spread by a factor of e its error is "
        "%s of that of a scale per tensor, with equal rows %s.",
        short_number(at("token", 1) / at("tensor", 1)).c_str(), short_number(at("token", 0) / at("tensor", 0)).c_str());
    report.plots.push_back(heterogeneity_plot(spread));
    report.tables.push_back(pivot(spread, "scheme", "row_spread", "relative_l2", "by_spread",
                                  "s8 without smoothing, relative L2, %, by the standard deviation of the logarithm of "
                                  "the rows' sizes (scores keep a spread of 1).",
                                  100));
  }
  return report;
}

}  // namespace octavo::study
