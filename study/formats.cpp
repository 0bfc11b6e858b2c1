// formats: which number format, at which cost of its products.
#include <cmath>

#include "common/output.hpp"
#include "study/fp4.hpp"
#include "study/grid.hpp"
#include "study/plot.hpp"

namespace octavo::study {
namespace {

using tool::format;

struct FormatScheme {
  const char* name;
  const char* recipe;  // null: the model of FP4
  double cost;         // of both products; 1: both in 16 bits; 1/2: both in 8; 1/4: both in 4
};

constexpr const char* kE5M2 = "E5M2, no scale (fp8_e5m2)";
constexpr const char* kE4M3 = "E4M3 per tensor (fp8_e4m3)";
constexpr const char* kFairE4M3 = "E4M3 in int8_fast's scheme";
constexpr const char* kInt8 = "s8 (int8)";
constexpr const char* kInt8Fast = "s8 (int8_fast)";
constexpr const char* kRotatedFp4 = "FP4 E2M1, Q and K rotated";

constexpr FormatScheme kSchemes[] = {
    {kE5M2, "fp8_e5m2", 0.5},
    {"E4M3, no scale", "fp8_e4m3,q_scale=none,k_scale=none,v_scale=none", 0.5},
    {kE4M3, "fp8_e4m3", 0.5},
    {"E4M3 per tensor, sm89, one level", "fp8_e4m3,accumulator=sm89,two_level=off", 0.5},
    {"E4M3 per tensor, sm89, two levels", "fp8_e4m3,accumulator=sm89", 0.5},
    {"E4M3 per block, rotated (fa3_fp8)", "fa3_fp8", 0.5},
    {kFairE4M3, "int8_fast,scores=e4m3,p=e4m3,p_range=448,values=e4m3", 0.5},
    {"s8, E4M3 P and V (sage2_8b)", "sage2_8b", 0.5},
    {"s8, running maximum (int_flash)", "int_flash", 0.5},
    {"s8, V per block and channel (int8_block)", "int8_block", 0.5},
    {kInt8Fast, "int8_fast", 0.5},
    {kInt8, "int8", 0.5},
    {"s8, f16 P and V (int_flash_half)", "int_flash_half", 0.75},
    {"s8, f16 P and V, K smoothed (sage1)", "sage1", 0.75},
    {"s4, E4M3 P and V (sage2_4b)", "sage2_4b", 0.375},
    {"s4, s8 P and V (int4)", "int4", 0.375},
    {"s4 everywhere (int_flash_int4)", "int_flash_int4", 0.25},
    {"s4 in int4's scheme, P and V too", "int4,p=s8,p_range=7,values=s4", 0.25},
    {"FP4 E2M1, groups of 16", nullptr, 0.25},
    {kRotatedFp4, nullptr, 0.25},
};

double cost_of(const std::string& name) {
  for (const FormatScheme& scheme : kSchemes) {
    if (name == scheme.name) return scheme.cost;
  }
  return std::nan("");
}

std::vector<NamedScheme> schemes() {
  std::vector<NamedScheme> all;
  for (const FormatScheme& scheme : kSchemes) {
    if (scheme.recipe != nullptr) {
      all.push_back({scheme.name, scheme_of(scheme.recipe)});
    } else {
      const bool rotate = scheme.name == std::string(kRotatedFp4);
      all.push_back({scheme.name, [rotate](const Problem& problem) { return fp4_attention(problem, rotate); }});
    }
  }
  return all;
}

Plot cost_plot(const Table& errors, const std::string& data) {
  LinePlot plot{"Error against cost of the products, " + data, "cost of the products; 1: both in 16 bits",
                "relative L2, %"};
  plot.log_y = true;
  for (const FormatScheme& scheme : kSchemes) {
    plot.series.push_back({scheme.name, {{scheme.cost, 100 * figure(errors, scheme.name, data)}}, false, {}});
  }
  return {"cost", to_svg(plot)};
}

Plot bars_plot(const Table& errors, const std::vector<std::string>& data) {
  BarPlot plot{"Relative L2 error by format, %", "relative L2, %"};
  plot.log = true;
  for (const FormatScheme& scheme : kSchemes) plot.groups.push_back(scheme.name);
  for (const std::string& name : data) {
    std::vector<double> values;
    for (const FormatScheme& scheme : kSchemes) values.push_back(100 * figure(errors, scheme.name, name));
    plot.series.emplace_back(name, std::move(values));
  }
  return {"errors", to_svg(plot)};
}

}  // namespace

Report run_formats(const Options& options) {
  const Shape shape = options.quick ? Shape{2, 16, 512, 64} : Shape{2, 64, 2048, 64};
  const std::vector<DataSet> data = data_sets(
      options, {"gaussian", "uniform", "k_bias", "v_channels", "v_tokens", "outliers", "sink8_tiny", "v_bias"}, shape);
  Table errors = grid("errors", schemes(), data, options);
  errors.columns.push_back({"cost", "", 1});
  for (auto& row : errors.rows) row.push_back(cost_of(row[0].text));

  Report report;
  const std::string first = data.front().name, last = data.back().name;
  const auto error = [&](const char* scheme) { return figure(errors, scheme, first); };
  const auto below = [&](const char* scheme) { return 100 * (1 - error(kInt8) / error(scheme)); };
  report.answer = format(
      "At the same cost of the products s8 is more accurate than FP8: on %s data `int8` has %s %% of "
      "error, %.0f %% less than unscaled E5M2, %.0f %% less than scaled E4M3, and %.0f %% less than "
      "E4M3 with `int8_fast`'s rotation, smoothing and fold.",
      first.c_str(), short_number(100 * error(kInt8)).c_str(), below(kE5M2), below(kE4M3), below(kFairE4M3));
  if (options.captures.empty()) {
    report.bars = {{"`int8` below the E5M2 baseline, gaussian, %", below(kE5M2), 82, false},
                   {"`int8` below scaled E4M3, gaussian, %", below(kE4M3), 70, false}};
  }
  report.method = said(options, shape);
  report.plots = {bars_plot(errors, {first, last}), cost_plot(errors, first)};
  report.tables = {errors,
                   pivot(errors, "scheme", "data", "relative_l2", "by_data", "Relative L2 error, mean, %.", 100),
                   pivot(errors, "scheme", "data", "spread", "spread", "Its standard deviation, %.", 100)};
  report.tables.back().on_page = false;
  return report;
}

}  // namespace octavo::study
