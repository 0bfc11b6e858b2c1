// octavo study NAME: runs a study of study/ and writes its tables, plots and page sections into a folder.
#include "study/study.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>

#include "call_options.hpp"
#include "commands.hpp"
#include "common/failure.hpp"
#include "common/machine.hpp"
#include "common/number_option.hpp"

namespace octavo::tool {
namespace {

namespace fs = std::filesystem;

struct StudyOptions {
  std::string name, out;
  study::Options study;
  int seeds = 0;  // 0: 5, with --quick 2
  CallOptions call;
};

constexpr int kSeeds = 5, kQuickSeeds = 2;

std::string list_of_studies() {
  std::string text;
  for (const study::Study& each : study::studies()) text += format("  %-12s %s\n", each.name, each.question);
  return text + format("  %-12s %s\n", "model", "the recipes in a language model: make study-model (Python)");
}

const study::Study& find_study(const std::string& name) {
  std::string names;
  for (const study::Study& each : study::studies()) {
    if (name == each.name) return each;
    names += (names.empty() ? "" : ", ") + std::string(each.name);
  }
  if (name == "model") fail(kExitUsage, "the study model runs in Python: make study-model");
  fail(kExitUsage, "study '" + name + "' is unknown; the studies are " + names + ", and model (make study-model)");
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) fail(kExitIo, "'" + path.string() + "': cannot write");
}

Json json_of(const study::Study& chosen, const StudyOptions& options, const study::Report& report, double seconds) {
  Json json = {{"schema_version", kSchemaVersion},
               {"kind", "study"},
               {"study", chosen.name},
               {"question", chosen.question},
               {"machine", machine()},
               {"quick", options.study.quick},
               {"seed", options.study.seed},
               {"seeds", options.study.seeds},
               {"captures", options.study.captures.empty() ? Json(nullptr) : Json(options.study.captures)},
               {"seconds", seconds},
               {"parameters", report.parameters},
               {"method", report.method},
               {"answer", report.answer},
               {"bars", Json::array()},
               {"tables", Json::array()}};
  for (const study::Bar& bar : report.bars) {
    json["bars"].push_back({{"bar", bar.text},
                            {"value", bar.value},
                            {bar.at_most ? "at_most" : "at_least", bar.limit},
                            {"holds", bar.holds()}});
  }
  for (const study::Table& table : report.tables) json["tables"].push_back(study::to_json(table));
  return json;
}

void write_files(const fs::path& folder, const study::Study& chosen, const study::Report& report, const Json& json) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(kExitIo, "'" + folder.string() + "': " + error.message());
  const std::string name = chosen.name;
  for (const study::Table& table : report.tables) write(folder / (name + "_" + table.name + ".csv"), to_csv(table));
  for (const study::Plot& plot : report.plots) write(folder / (name + "_" + plot.name + ".svg"), plot.svg);
  write(folder / (name + ".json"), json.dump(1) + "\n");
  write(folder / (name + ".md"), study::to_markdown(name, report));
}

void run(StudyOptions& options) {
  execution_of(options.call);
  const study::Study& chosen = find_study(options.name);
  if (!options.study.captures.empty() && !chosen.reads_captures) {
    fail(kExitUsage,
         "--captures: the study " + options.name + " has its own data; formats, qk, v and paper read files");
  }
  options.study.seeds = options.seeds != 0 ? options.seeds : options.study.quick ? kQuickSeeds : kSeeds;
  study::Report report;
  const auto start = std::chrono::steady_clock::now();
  {
    const Progress progress;
    options.study.progress = [&](const std::string& line) { progress.show(options.name + ": " + line); };
    report = chosen.run(options.study);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const Json json = json_of(chosen, options, report, seconds);
  if (!options.out.empty()) write_files(options.out, chosen, report, json);
  std::fprintf(text_stream(options.call.json), "%s\n\n%s\n%.0f s%s%s\n", chosen.question,
               study::to_markdown(chosen.name, report).c_str(), seconds, options.out.empty() ? "" : "; files in ",
               options.out.c_str());
  write_json(options.call.json, json);
  for (const study::Bar& bar : report.bars) {
    if (!bar.holds()) {
      fail(kExitCheckFailed, format("%s: %.4g; required is %s %.4g", bar.text.c_str(), bar.value,
                                    bar.at_most ? "at most" : "at least", bar.limit));
    }
  }
}

}  // namespace

void add_study(CLI::App& octavo) {
  auto options = std::make_shared<StudyOptions>();
  CLI::App* command = octavo.add_subcommand("study", "Experiments on accuracy and cost: tables, plots, an answer");
  command->add_option("name", options->name, "The study")->required();
  command->add_option("--out", options->out, "Folder for NAME_*.csv, NAME.json, NAME_*.svg and NAME.md");
  command->add_flag("--quick", options->study.quick, "Small shapes and two seeds: under a minute");
  command->add_option("--seed", options->study.seed, "The first seed")->capture_default_str();
  command->add_option("--seeds", options->seeds, "Number of seeds; default 5, with --quick 2")
      ->check(whole_number(1, 1000));
  command->add_option("--captures", options->study.captures,
                      "Your own Q, K and V (safetensors, L<layer>.q .k .v) instead of the study's data");
  add_machine_options(*command, options->call);
  command->footer("Studies:\n" + list_of_studies() +
                  "Examples:\n"
                  "  octavo study formats --out results\n"
                  "  octavo study qk --quick\n"
                  "  octavo study v --captures my_layers.safetensors --out results");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
