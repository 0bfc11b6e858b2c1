// processors: every implementation of this machine, forced in turn, and the results committed under bench/results: what
// part of the instruction peak they reach and what they gain over their own 16-bit attention.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "common/output.hpp"
#include "common/peak.hpp"
#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"
#include "study/measure.hpp"
#include "study/plot.hpp"
#include "study/study.hpp"
#include "study/timed_call.hpp"

namespace octavo::study {
namespace {

namespace fs = std::filesystem;
using tool::format;

constexpr const char* kRecipes[] = {"exact", "int8", "int8_fast", "int_flash", "sage2_8b", "int_flash_half"};
constexpr const char* kResults = "bench/results";

Table here(const Options& options, const Shape& shape) {
  Table table{
      "here",
      "This machine. *exact* has bf16 inputs and is the 16-bit attention that the others are compared with; the "
      "peak is that of the widest int8 instruction (`exact`, `int_flash_half`: no single one). Fraction: of the "
      "int8 peak, both products.",
      {{"implementation", "implementation"},
       {"scheme", "scheme"},
       {"gops", "Gop/s"},
       {"fraction", "of the int8 peak, %", 100},
       {"gain", "x its exact"},
       {"missing", "note"}}};
  options.progress("peak");
  const double peak = tool::measure_vnni(1).value;
  const TimedCall call(shape, DType::bf16);
  for (const ImplementationInfo& each : implementations()) {
    if (each.device != DeviceType::cpu || each.name == "reference") continue;
    const std::string name(each.name);
    if (!each.supported) {
      table.rows.push_back({name, "-", std::nan(""), std::nan(""), std::nan(""), each.reason});
      continue;
    }
    options.progress(name);
    std::vector<TimedCall::Entry> entries;
    for (const char* recipe : kRecipes) entries.push_back({recipe, composed(recipe), name});
    const auto ratios = call.ratios(entries, options.quick ? 2 : name == "scalar" ? 3 : 9, true, options.progress);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const double gops = call.operations() / ratios[i].microseconds / 1e3;
      table.rows.push_back({name, entries[i].name, gops, peak > 0 ? gops / peak : std::nan(""), 1 / ratios[i].ratio,
                            std::isnan(ratios[i].ratio) ? "no kernel" : ""});
    }
  }
  return table;
}

double median_gops(const Json& timings, const std::string& name) {
  return timings.contains(name) && timings[name].contains("gops") ? timings[name]["gops"].get<double>() : std::nan("");
}

// The files of make bench, in the repository's folder. Absent elsewhere: an empty table.
Table committed() {
  Table table{
      "committed",
      "Committed results of `make bench` (bench/results): gain of each recipe over octavo's own bf16 attention in the "
      "same run, and the fraction of the processor's int8 peak.",
      {{"processor", "processor"},
       {"shape", "shape"},
       {"scheme", "scheme"},
       {"gops", "Gop/s"},
       {"fraction", "of the int8 peak, %", 100},
       {"gain", "x exact bf16"}}};
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::recursive_directory_iterator it(kResults, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename() == "cpu.json") files.push_back(it->path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& path : files) {
    const Json data = Json::parse(std::ifstream(path), nullptr, false);
    if (data.is_discarded() || !data.contains("results")) continue;
    for (const Json& result : data["results"]) {
      if (!result.contains("timings") || !result.contains("shape")) continue;
      const Json& shape = result["shape"];
      const double exact = median_gops(result["timings"], "octavo exact bf16");
      const double peak = result.contains("peak") ? result["peak"].value("vnni", std::nan("")) : std::nan("");
      for (const char* recipe : {"int8", "int8_fast", "int_flash", "sage2_8b", "int_flash_half"}) {
        const double gops = median_gops(result["timings"], std::string("octavo ") + recipe);
        if (std::isnan(gops) || std::isnan(exact)) continue;
        table.rows.push_back({fs::relative(path.parent_path(), kResults).string(),
                              format("%d heads, %d x %d, D %d%s", shape["heads"].get<int>(),
                                     shape["seqlen_q"].get<int>(), shape["seqlen_k"].get<int>(),
                                     shape["head_dim"].get<int>(), shape["causal"].get<bool>() ? ", causal" : ""),
                              recipe, gops, gops / peak, gops / exact});
      }
    }
  }
  return table;
}

Plot gains(const Table& table) {
  BarPlot plot{"Time of 16-bit attention over that of the recipe, same implementation", "x exact"};
  std::vector<std::string> names;
  for (const auto& row : table.rows) {
    if (std::isnan(row[4].number)) continue;
    if (names.empty() || names.back() != row[0].text) names.push_back(row[0].text);
  }
  for (const char* recipe : kRecipes) plot.groups.push_back(recipe);
  for (const std::string& name : names) {
    std::vector<double> values;
    for (const char* recipe : kRecipes) {
      double gain = std::nan("");
      for (const auto& row : table.rows) {
        if (row[0].text == name && row[1].text == recipe) gain = row[4].number;
      }
      values.push_back(gain);
    }
    plot.series.emplace_back(name, std::move(values));
  }
  return {"gains", to_svg(plot)};
}

}  // namespace

Report run_processors(const Options& options) {
  const int threads = num_threads();
  set_num_threads(1);
  const Shape shape = options.quick ? Shape{1, 256, 256, 64} : Shape{1, 2048, 2048, 128};
  const Table table = here(options, shape), found = committed();
  set_num_threads(threads);
  Report report;
  std::string best;
  double gain = 0, fraction = 0;
  for (const auto& row : table.rows) {
    if (row[1].text == "int8_fast" && row[4].number > gain)
      gain = row[4].number, fraction = row[3].number, best = row[0].text;
  }
  double committed_gain = 0;
  std::string where;
  for (const auto& row : found.rows) {
    if (row[2].text == "int8_fast" && row[5].number > committed_gain) {
      committed_gain = row[5].number, where = row[0].text + ", " + row[1].text;
    }
  }
  report.answer = format(
      "Here `int8_fast` on %s is %.2f times as fast as the same implementation's 16-bit attention and "
      "reaches %.0f %% of the int8 peak.",
      best.c_str(), gain, 100 * fraction);
  if (!where.empty()) {
    report.answer += format(
        " The largest gain of the committed results is %.2f (%s): integers pay where the processor has "
        "dot products of bytes.",
        committed_gain, where.c_str());
  }
  report.method =
      format("%s, bf16 inputs, quantization included, processor time of one thread, interleaved rounds, medians.",
             to_string(shape).c_str());
  report.tables = {table, found};
  report.plots = {gains(table)};
  return report;
}

}  // namespace octavo::study
