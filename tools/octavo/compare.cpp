// octavo compare: error metrics of A against B, two files of tensors or two recipes on the same Q, K, V.
#include <memory>

#include "call_options.hpp"
#include "commands.hpp"
#include "elements.hpp"
#include "error_metrics.hpp"
#include "failure.hpp"
#include "tensor_argument.hpp"

namespace octavo::tool {
namespace {

struct Options {
  CallOptions call;
  std::string a, b, q, k, v;
  std::string layout = "NHD";
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

io::Tensor attend(const Options& options, const std::string& recipe, AttentionInputs inputs) {
  CallOptions call = options.call;
  call.recipe = recipe;
  const AttentionParams params = params_of(call);
  const TensorView& q = inputs.q;
  const std::int64_t shape[] = {q.shape[0], q.shape[1], q.shape[2], inputs.v.shape[3]};
  io::Tensor out = value_of(io::Tensor::allocate("o", DType::f32, shape));
  inputs.out = out.view();
  require(attention(inputs, params, execution_of(call)));
  return out;
}

std::vector<Comparison> compare_recipes(const Options& options) {
  if (options.q.empty() || options.k.empty() || options.v.empty()) {
    fail(kExitUsage, "two recipes are compared on tensors: --q, --k and --v are all needed");
  }
  const io::Tensor q = load_tensor(options.q), k = load_tensor(options.k), v = load_tensor(options.v);
  AttentionInputs inputs;
  inputs.layout = layout_of(options.layout);
  inputs.q = with_batch(q.view(), inputs.layout, "--q");
  inputs.k = with_batch(k.view(), inputs.layout, "--k");
  inputs.v = with_batch(v.view(), inputs.layout, "--v");
  const io::Tensor a = attend(options, options.a, inputs), b = attend(options, options.b, inputs);
  return {compare_tensors("o", a.view(), b.view())};
}

void run(const Options& options) {
  const bool recipes = !options.q.empty() || !options.k.empty() || !options.v.empty();
  const std::vector<Comparison> comparisons = recipes ? compare_recipes(options) : compare_files(options);
  using Align = Table::Align;
  Table table({Align::left, Align::left, Align::right, Align::right, Align::right, Align::right, Align::right});
  table.add({"tensor", "shape", "relative L2", "cosine", "max abs", "rmse", "not finite"});
  Json json = {{"schema_version", kSchemaVersion},
               {"kind", "compare"},
               {"a", options.a},
               {"b", options.b},
               {"tensors", Json::array()}};
  std::string beyond;
  for (const Comparison& comparison : comparisons) {
    const ErrorMetrics& m = comparison.metrics;
    table.add({comparison.name, comparison.shape, format("%.6e", m.relative_l2), format("%.9f", m.cosine),
               format("%.6e", m.max_abs), format("%.6e", m.rmse), std::to_string(m.not_finite)});
    json["tensors"].push_back({{"name", comparison.name},
                               {"shape", comparison.shape},
                               {"elements", m.elements},
                               {"relative_l2", m.relative_l2},
                               {"cosine", m.cosine},
                               {"max_abs", m.max_abs},
                               {"rmse", m.rmse},
                               {"not_finite", m.not_finite}});
    if (!(m.relative_l2 <= options.max_relative_l2)) {
      beyond += format("%s%s %.6e", beyond.empty() ? "" : ", ", comparison.name.c_str(), m.relative_l2);
    }
  }
  table.print(text_stream(options.call.json));
  write_json(options.call.json, json);
  if (!beyond.empty()) {
    fail(kExitCheckFailed, "relative L2 beyond " + format("%g", options.max_relative_l2) + ": " + beyond);
  }
}

}  // namespace

void add_compare(CLI::App& octavo) {
  auto options = std::make_shared<Options>();
  CLI::App* command = octavo.add_subcommand("compare", "Error metrics between two outputs or two recipes; B is right");
  command->add_option("a", options->a, "A file (or FILE:NAME), or a recipe with --q, --k and --v")->required();
  command->add_option("b", options->b, "What A is measured against")->required();
  for (const auto& [flag, value] : {std::pair{"--q", &options->q}, {"--k", &options->k}, {"--v", &options->v}}) {
    command->add_option(flag, *value, "Tensors for the comparison of recipes")->type_name("FILE[:NAME]");
  }
  command->add_option("--layout", options->layout, "NHD or HND")->capture_default_str();
  add_mask_options(*command, options->call);
  command->add_option("--max-relative-l2", options->max_relative_l2, "Exit with 1 where the error is larger");
  add_machine_options(*command, options->call);
  command->footer(
      "Examples:\n"
      "  octavo compare o_int8.npy o_exact.npy --max-relative-l2 0.02\n"
      "  octavo compare int8 exact --q q.npy --k k.npy --v v.npy --causal");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
