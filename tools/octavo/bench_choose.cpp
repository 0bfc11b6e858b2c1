// octavo bench choose: is the implementation that octavo takes by itself the fastest one here? Times every supported
// one on each recipe, in turns.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "bench_shape.hpp"
#include "commands.hpp"
#include "common/failure.hpp"
#include "common/machine.hpp"
#include "common/number_option.hpp"
#include "common/timing.hpp"
#include "octavo/implementation.hpp"

namespace octavo::tool {
namespace {

struct Options {
  BenchShape shape{.seqlen_q = 1024};
  CallOptions call;
  std::vector<std::string> recipes;  // none: all presets
  double tolerance = 3;              // percent
};

struct Candidate {
  std::string name;
  std::vector<double> times{};
};

// Portable code and the reference are many times slower: they are no candidates beside vector kernels.
std::vector<Candidate> candidates() {
  std::vector<Candidate> found;
  for (const ImplementationInfo& info : implementations()) {
    const bool vector = info.name != "scalar" && info.name != "reference";
    if (info.supported && info.device == DeviceType::cpu && vector) found.push_back({std::string(info.name)});
  }
  if (found.empty()) found.push_back({"scalar"});
  return found;
}

struct Choice {
  Json json;
  std::vector<std::string> row;
  bool best;
};

Choice judge(const std::string& recipe, const std::string& chosen, const std::vector<Candidate>& measured,
             double tolerance) {
  const auto faster = [](const Candidate& a, const Candidate& b) { return median(a.times) < median(b.times); };
  const Candidate& fastest = *std::min_element(measured.begin(), measured.end(), faster);
  Choice choice{{{"recipe", recipe}, {"chosen", chosen}, {"fastest", fastest.name}}, {recipe}, true};
  double own = 0;
  for (const Candidate& each : measured) {
    choice.json["time_us"][each.name] = time_json(each.times);
    choice.row.push_back(format("%.1f", median(each.times)));
    if (each.name == chosen) own = median(each.times);
  }
  const double ratio = own / median(fastest.times);
  choice.best = ratio <= 1 + tolerance / 100;
  choice.json["ratio"] = ratio;
  choice.row.insert(choice.row.end(), {chosen, format("%.3f", ratio), choice.best ? "yes" : "no: " + fastest.name});
  return choice;
}

void run(Options& options) {
  BenchShape& shape = options.shape;
  resolve(shape);
  if (!options.call.implementation.empty()) fail(kExitUsage, "--implementation: bench choose times all of them");
  execution_of(options.call);  // sets the number of threads
  require(force_implementation(""));
  const BenchTensors tensors(shape);
  const AttentionInputs inputs = tensors.inputs();

  if (options.recipes.empty())
    for (const RecipeInfo& info : recipes()) options.recipes.emplace_back(info.name);
  Json choices = Json::array();
  std::vector<std::vector<std::string>> rows;
  bool all_best = true;
  for (const std::string& recipe : options.recipes) {
    CallOptions call = options.call;
    call.recipe = recipe;
    const AttentionParams params = params_of(call);
    require(attention(inputs, params));
    const std::string chosen(last_implementation());
    std::vector<Candidate> measured = candidates();
    // The first round warms up.
    for (int round = 0; round <= shape.repeat; ++round) {
      for (Candidate& each : measured) {
        Execution execution;
        execution.implementation = each.name;
        const double time = microseconds([&] { require(attention(inputs, params, execution)); });
        if (round > 0) each.times.push_back(time);
      }
    }
    Choice choice = judge(recipe, chosen, measured, options.tolerance);
    all_best = all_best && choice.best;
    choices.push_back(std::move(choice.json));
    rows.push_back(std::move(choice.row));
  }

  std::vector<std::string> head{"us"};
  std::vector<Table::Align> columns{Table::Align::left};
  for (const Candidate& each : candidates()) {
    head.push_back(each.name);
    columns.push_back(Table::Align::right);
  }
  head.insert(head.end(), {"chosen", "of the fastest", "within"});
  columns.insert(columns.end(), {Table::Align::left, Table::Align::right, Table::Align::left});
  Table table(columns);
  table.add(head);
  for (std::vector<std::string>& row : rows) table.add(std::move(row));
  table.print(text_stream(options.call.json));
  Json parameters = parameters_json(shape, options.call);
  parameters.erase("recipe");
  parameters["tolerance_percent"] = options.tolerance;
  write_json(options.call.json, {{"schema_version", kSchemaVersion},
                                 {"kind", "choose"},
                                 {"machine", machine()},
                                 {"parameters", parameters},
                                 {"recipes", choices}});
  if (!all_best) {
    fail(kExitCheckFailed, format("another implementation is more than %g %% faster than the one chosen; name it with "
                                  "OCTAVO_FORCE_IMPLEMENTATION",
                                  options.tolerance));
  }
}

}  // namespace

void add_bench_choose(CLI::App& bench) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      bench.add_subcommand("choose", "Whether the implementation that is chosen is the fastest, by recipe");
  command->add_option("--recipes", options->recipes, "Recipes, separated by spaces; default: all presets")
      ->expected(1, -1);
  command->add_option("--tolerance", options->tolerance, "Percent by which another may be faster")
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
  add_shape_options(*command, options->shape);
  add_mask_options(*command, options->call);
  add_machine_options(*command, options->call);
  command->footer(
      "Exit code 1: another implementation is faster than that.\n"
      "Examples:\n"
      "  octavo bench choose --threads 2\n"
      "  octavo bench choose --recipes exact sage2_8b --dtype bf16 --seqlen-q 4096 --json -");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
