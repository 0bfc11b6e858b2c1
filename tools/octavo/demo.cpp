// octavo demo: real Q, K and V through every recipe: error against f64, speed against `exact`, one table.
#include <cmath>
#include <memory>

#include "call_options.hpp"
#include "commands.hpp"
#include "common/failure.hpp"
#include "common/machine.hpp"
#include "common/number_option.hpp"
#include "common/output_files.hpp"
#include "common/timing.hpp"
#include "head_errors.hpp"
#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"

namespace octavo::tool {
namespace {

// Beyond this, a recipe is not called again for the sake of its median.
constexpr double kMostSecondsPerRecipe = 20;
// What `exact` may be off by from f64 with f16 inputs and f32 outputs.
constexpr double kExactTolerance = 5e-4;
constexpr const char* kDefaultRecipe = "int8";

struct Options {
  std::string file;
  bool markdown = false;
  int repeat = 5;
  CallOptions call;
};

struct Row {
  RecipeInfo info;
  HeadErrors real, normal;
  std::string implementation;
  std::vector<double> times;   // microseconds for the whole file
  std::vector<double> ratios;  // exact's time of the same round over this one's
  double speed() const { return median(ratios); }
};

// Per cent, with digits left where an error is tiny.
std::string percent(double value) { return format(value < 1e-4 ? "%.1e" : "%.3f", 100 * value); }

// Attention in bf16, which is no recipe: the row to compare the recipes with.
constexpr const char* kBf16 = "bf16 attention";
constexpr const char* kBf16Meaning =
    "bf16 attention: Q, K, V, P and O rounded to bf16, sums in f32; computed by the demo itself, not timed";

struct Bf16Errors {
  HeadErrors real, normal;
};

Bf16Errors measure_bf16(LayerSet& real, LayerSet& normal, const Progress& progress) {
  progress.show(std::string("errors: ") + kBf16);
  real.call_bf16();
  normal.call_bf16();
  return {real.errors(), normal.errors()};
}

struct Missing {
  std::string name, reason;
};

// Errors of all recipes that run; the others go to `missing`.
std::vector<Row> measure_errors(LayerSet& real, LayerSet& normal, const std::string& implementation,
                                std::vector<Missing>& missing, const Progress& progress) {
  std::vector<Row> rows;
  for (const RecipeInfo& info : recipes()) {
    progress.show("errors: " + std::string(info.name));
    Row row;
    row.info = info;
    const Status status = real.call(info.recipe, implementation);
    if (status.code() == StatusCode::kUnimplemented || status.code() == StatusCode::kUnavailable) {
      missing.push_back({std::string(info.name), status.message()});
      continue;
    }
    require(status);
    row.implementation = last_implementation();
    row.real = real.errors();
    require(normal.call(info.recipe, implementation));
    row.normal = normal.errors();
    rows.push_back(std::move(row));
  }
  return rows;
}

// Rounds over all recipes, `exact` next to each: what disturbs the machine disturbs both.
void measure_times(LayerSet& real, const std::string& implementation, int repeat, std::vector<Row>& rows,
                   const Progress& progress) {
  const Row* exact = nullptr;
  for (const Row& row : rows) {
    if (row.info.name == "exact") exact = &row;
  }
  std::vector<double> spent(rows.size(), 0);
  for (int round = 0; round < repeat; ++round) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (spent[i] > kMostSecondsPerRecipe * 1e6) continue;
      progress.show(format("times: round %d of %d, %s", round + 1, repeat, std::string(rows[i].info.name).c_str()));
      const auto time_of = [&](const Recipe& recipe) {
        return microseconds([&] { require(real.call(recipe, implementation)); });
      };
      const double base = exact == nullptr || exact == &rows[i] ? 0 : time_of(exact->info.recipe);
      rows[i].times.push_back(time_of(rows[i].info.recipe));
      spent[i] += rows[i].times.back() + base;
      if (exact != nullptr) rows[i].ratios.push_back(base == 0 ? 1 : base / rows[i].times.back());
    }
  }
}

std::string verdict(const std::vector<Row>& rows) {
  const Row* chosen = nullptr;
  for (const Row& row : rows) {
    if (row.info.name == kDefaultRecipe) chosen = &row;
  }
  if (chosen == nullptr) return format("The default recipe, %s, is not in this build.", kDefaultRecipe);
  std::string text = format("%s: %.2f %% median error, %.2f %% in the worst head (%s)", kDefaultRecipe,
                            100 * chosen->real.median, 100 * chosen->real.worst, chosen->real.worst_head.c_str());
  if (!chosen->ratios.empty()) text += format(", %.2f times the speed of exact", chosen->speed());
  std::string better;
  int others = 0;
  for (const Row& row : rows) {
    if (&row == chosen || row.ratios.empty()) continue;
    ++others;
    if (row.real.worst <= chosen->real.worst && row.speed() >= chosen->speed()) {
      better += (better.empty() ? "" : ", ") + std::string(row.info.name);
    }
  }
  if (others > 0) {
    text += better.empty() ? format("; none of the other %d is both as fast and as accurate in its worst head", others)
                           : "; at least as fast and as accurate in the worst head: " + better;
  }
  return text + ".";
}

void print(const Options& options, const std::string& path, const LayerSet& real, const std::vector<Row>& rows,
           const Bf16Errors& bf16, const std::vector<Missing>& missing) {
  using Align = Table::Align;
  std::FILE* stream = text_stream(options.call.json);
  std::string shapes;
  for (const Layer& layer : real.layers()) {
    shapes += (shapes.empty() ? "" : "; ") + layer.name + " q " + shape_string(layer.q.view()) + " k, v " +
              shape_string(layer.k.view());
  }
  const char* break_line = options.markdown ? "\n\n" : "\n";
  std::fprintf(stream, "%s: %s, causal%s", path.c_str(), shapes.c_str(), break_line);
  std::fprintf(stream, "%s, %d thread%s; error = relative L2 of a head's output against f64; time = the whole file%s",
               processor_name().c_str(), num_threads(), num_threads() == 1 ? "" : "s", break_line);
  Table table({Align::left, Align::right, Align::right, Align::left, Align::right, Align::right, Align::right,
               Align::right, Align::right, Align::left});
  table.add({"recipe", "median %", "worst %", "in head", "cosine", "N(0,1) median %", "worst %", "ms", "x exact",
             "implementation"});
  const auto add = [&table](const std::string& name, const HeadErrors& file, const HeadErrors& gaussian,
                            const std::string& ms, const std::string& speed, const std::string& implementation) {
    table.add({name, percent(file.median), percent(file.worst), file.worst_head, format("%.6f", file.cosine),
               percent(gaussian.median), percent(gaussian.worst), ms, speed, implementation});
  };
  for (const Row& row : rows) {
    add(std::string(row.info.name), row.real, row.normal, format("%.2f", median(row.times) / 1e3),
        row.ratios.empty() ? "-" : format("%.2f", row.speed()), row.implementation);
    if (row.info.name == "exact") add(kBf16, bf16.real, bf16.normal, "-", "-", "-");
  }
  table.print(stream, options.markdown);
  if (options.markdown) std::fputs("\n", stream);
  std::fprintf(stream, "%s%s", kBf16Meaning, break_line);
  if (!missing.empty()) {
    std::string names;
    for (const Missing& entry : missing) names += (names.empty() ? "" : ", ") + entry.name;
    std::fprintf(stream, "not in this build: %s%s", names.c_str(), break_line);
  }
  std::fprintf(stream, "%s\n", verdict(rows).c_str());
}

Json to_json(const std::string& path, const std::vector<Row>& rows, const Bf16Errors& bf16,
             const std::vector<Missing>& missing) {
  const auto errors = [](const HeadErrors& e) {
    return Json{{"median_relative_l2", e.median},
                {"worst_relative_l2", e.worst},
                {"worst_head", e.worst_head},
                {"median_cosine", e.cosine}};
  };
  Json json = {{"schema_version", kSchemaVersion},
               {"kind", "demo"},
               {"machine", machine()},
               {"parameters", {{"file", path}, {"causal", "bottom_right"}, {"threads", num_threads()}}},
               {"recipes", Json::array()},
               {"bf16_attention", {{"file", errors(bf16.real)}, {"normal", errors(bf16.normal)}}},
               {"not_in_this_build", Json::array()}};
  for (const Row& row : rows) {
    json["recipes"].push_back({{"name", row.info.name},
                               {"file", errors(row.real)},
                               {"normal", errors(row.normal)},
                               {"time_us", time_json(row.times)},
                               {"calls", row.times.size()},
                               {"speed_over_exact", row.ratios.empty() ? Json(nullptr) : Json(row.speed())},
                               {"implementation", row.implementation}});
  }
  for (const Missing& entry : missing) {
    json["not_in_this_build"].push_back({{"name", entry.name}, {"reason", entry.reason}});
  }
  json["verdict"] = verdict(rows);
  return json;
}

// Every output is finite, and `exact` is exact.
void check(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    for (const HeadErrors& errors : {row.real, row.normal}) {
      if (!std::isfinite(errors.worst)) {
        fail(kExitCheckFailed, std::string(row.info.name) + ": an output is not finite in " + errors.worst_head);
      }
      if (row.info.name == "exact" && errors.worst > kExactTolerance) {
        fail(kExitCheckFailed, format("exact: relative error %.2e in %s; at most %.0e is allowed", errors.worst,
                                      errors.worst_head.c_str(), kExactTolerance));
      }
    }
  }
}

void run(const Options& options) {
  const Execution execution = execution_of(options.call);
  const std::string implementation(execution.implementation);
  const std::string path = options.file.empty() ? find_default_capture() : options.file;
  check_outputs({{"--json", options.call.json}}, {{"the capture", path}});
  std::vector<Layer> layers = read_capture(path);
  std::vector<Row> rows;
  Bf16Errors bf16;
  std::vector<Missing> missing;
  {
    const Progress progress;
    progress.show("exact outputs in double");
    LayerSet normal(random_like(layers));
    LayerSet real(std::move(layers));
    rows = measure_errors(real, normal, implementation, missing, progress);
    if (rows.empty()) fail(kExitUnsupported, "no recipe runs here: " + missing.front().reason);
    bf16 = measure_bf16(real, normal, progress);
    measure_times(real, implementation, options.repeat, rows, progress);
    progress.show("");
    print(options, path, real, rows, bf16, missing);
  }
  write_json(options.call.json, to_json(path, rows, bf16, missing));
  check(rows);
}

}  // namespace

void add_demo(CLI::App& octavo) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      octavo.add_subcommand("demo", "Every recipe on real Q, K and V: error against f64, speed relative to exact");
  command->add_option("file", options->file,
                      "Safetensors with L<layer>.q [Hq, M, D], .k and .v [Hkv, N, D]; default: the included capture");
  command->add_flag("--markdown", options->markdown, "Print the table as Markdown");
  command->add_option("--repeat", options->repeat, "Measured calls per recipe")
      ->check(whole_number(1, 1000))
      ->capture_default_str();
  add_machine_options(*command, options->call);
  command->footer(
      "Examples:\n"
      "  octavo demo\n"
      "  octavo demo --threads 2 --markdown\n"
      "  octavo demo my_layers.safetensors --json demo.json");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
