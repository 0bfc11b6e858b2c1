// octavo compare: error metrics of A against B, two files of tensors or two recipes on the same Q, K, V.
#include <memory>

#include "call_options.hpp"
#include "call_tensors.hpp"
#include "commands.hpp"
#include "common/elements.hpp"
#include "common/error_metrics.hpp"
#include "common/failure.hpp"
#include "common/number_option.hpp"
#include "common/output_files.hpp"
#include "tensor_argument.hpp"

namespace octavo::tool {
namespace {

struct Options {
  CallOptions call;
  TensorOptions tensors;
  std::string a, b;
  double max_relative_l2 = std::numeric_limits<double>::infinity();
};

struct Comparison {
  std::string name, shape;
  ErrorMetrics metrics;
};

Comparison compare_tensors(const std::string& name, const TensorView& a, const TensorView& b) {
  if (shape_string(a) != shape_string(b)) {
    fail(kExitUsage, name + ": shapes " + shape_string(a) + " and " + shape_string(b) + " differ");
  }
  for (const TensorView& view : {a, b}) {
    if (!is_number(view.dtype)) fail(kExitUnsupported, name + ": dtype " + std::string(to_string(view.dtype)));
  }
  return {name, shape_string(a), compare(to_f64(a), to_f64(b))};
}

// Tensors of the same name; two files with one tensor each are compared whatever the names.
std::vector<Comparison> compare_files(const Options& options) {
  const auto single = [](const std::string& argument) {
    const Result<io::TensorFile> file = io::TensorFile::open(argument);
    return !file.ok() || file->list().size() == 1;  // FILE:NAME does not open
  };
  if (single(options.a) && single(options.b)) {
    const io::Tensor a = load_tensor(options.a), b = load_tensor(options.b);
    return {compare_tensors(a.name(), a.view(), b.view())};
  }
  const io::TensorFile a = value_of_file(io::TensorFile::open(options.a));
  const io::TensorFile b = value_of_file(io::TensorFile::open(options.b));
  std::vector<Comparison> comparisons;
  for (const io::TensorFile* file : {&a, &b}) {
    for (const io::TensorEntry& entry : file->list()) {
      const io::TensorFile& other = file == &a ? b : a;
      if (!other.contains(entry.name)) {
        fail(kExitUsage, "'" + other.path() + "' has no tensor '" + entry.name + "', '" + file->path() + "' has");
      }
      if (file != &a) continue;
      comparisons.push_back(compare_tensors(entry.name, value_of_file(a.find(entry.name)).view(),
                                            value_of_file(b.find(entry.name)).view()));
    }
  }
  return comparisons;
}

struct Attended {
  io::Tensor out, lse;
};

Attended attend(const Options& options, const std::string& recipe, const CallTensors& tensors) {
  CallOptions call = options.call;
  call.recipe = recipe;
  Attended result{tensors.allocate_output(DType::f32), tensors.allocate_lse()};
  AttentionInputs inputs = tensors.inputs;
  inputs.out = result.out.view();
  inputs.lse = result.lse.view();
  require(attention(inputs, params_of(call), execution_of(call)));
  return result;
}

std::vector<Comparison> compare_recipes(const Options& options) {
  const CallTensors tensors(options.tensors);
  const Attended a = attend(options, options.a, tensors), b = attend(options, options.b, tensors);
  return {compare_tensors("o", a.out.view(), b.out.view()), compare_tensors("lse", a.lse.view(), b.lse.view())};
}

// Flags that say how outputs are computed are errors if files of outputs are given: they would have no effect.
void check_no_call_flags(const CLI::App& command) {
  std::string flags;
  for (const CLI::Option* option : command.get_options([](const CLI::Option* o) { return o->count() > 0; })) {
    const std::string name = option->get_name();
    if (name == "a" || name == "b" || name == "--max-relative-l2" || name == "--json") continue;
    flags += (flags.empty() ? "" : ", ") + name;
  }
  if (flags.empty()) return;
  fail(kExitUsage, flags + ": not allowed if A and B are outputs; with --q, --k and --v A and B are recipes");
}

void run(const CLI::App& command, const Options& options) {
  const bool recipes = options.tensors.any();
  if (!recipes) check_no_call_flags(command);
  std::vector<NamedFile> inputs = input_files(options.tensors);
  if (!recipes) inputs = {{"A", file_of(options.a)}, {"B", file_of(options.b)}};
  check_outputs({{"--json", options.call.json}}, inputs);
  const std::vector<Comparison> comparisons = recipes ? compare_recipes(options) : compare_files(options);
  using Align = Table::Align;
  Table table({Align::left, Align::left, Align::right, Align::right, Align::right, Align::right, Align::right,
               Align::right, Align::right});
  table.add({"tensor", "shape", "relative L2", "relative L1", "cosine", "max abs", "bias", "rmse", "not finite"});
  Json json = {{"schema_version", kSchemaVersion},
               {"kind", "compare"},
               {"a", options.a},
               {"b", options.b},
               {"tensors", Json::array()}};
  std::string beyond;
  for (const Comparison& comparison : comparisons) {
    const ErrorMetrics& m = comparison.metrics;
    table.add({comparison.name, comparison.shape, format("%.6e", m.relative_l2), format("%.6e", m.relative_l1),
               format("%.9f", m.cosine), format("%.6e", m.max_abs), format("%+.3e", m.bias), format("%.6e", m.rmse),
               std::to_string(m.not_finite)});
    json["tensors"].push_back({{"name", comparison.name},
                               {"shape", comparison.shape},
                               {"elements", m.elements},
                               {"relative_l2", m.relative_l2},
                               {"relative_l1", m.relative_l1},
                               {"cosine", m.cosine},
                               {"max_abs", m.max_abs},
                               {"bias", m.bias},
                               {"rmse", m.rmse},
                               {"not_finite", m.not_finite}});
    if (recipes && comparison.name == "lse") continue;  // its norm means nothing: scores have no natural zero
    if (!(m.relative_l2 <= options.max_relative_l2)) {
      beyond += format("%s%s %.6e", beyond.empty() ? "" : ", ", comparison.name.c_str(), m.relative_l2);
    }
  }
  table.print(text_stream(options.call.json));
  write_json(options.call.json, json);
  if (!beyond.empty()) {
    fail(kExitCheckFailed, "relative L2 above " + format("%g", options.max_relative_l2) + ": " + beyond);
  }
}

}  // namespace

void add_compare(CLI::App& octavo) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      octavo.add_subcommand("compare", "Error metrics between two outputs or two recipes; B is the expected value");
  command->add_option("a", options->a, "A file (or FILE:NAME), or a recipe with --q, --k and --v")->required();
  command->add_option("b", options->b, "The expected value")->required();
  add_tensor_options(*command, options->tensors, false);
  add_mask_options(*command, options->call);
  add_alibi_option(*command, options->call);
  command
      ->add_option("--max-relative-l2", options->max_relative_l2,
                   "Exit with 1 if a tensor's (two recipes: o's) relative L2 is larger")
      ->check(finite_number());
  add_machine_options(*command, options->call);
  command->footer(
      "Examples:\n"
      "  octavo compare o_int8.npy o_exact.npy --max-relative-l2 0.02\n"
      "  octavo compare int8 exact --q q.npy --k k.npy --v v.npy --causal");
  command->callback([command, options] { run(*command, *options); });
}

}  // namespace octavo::tool
