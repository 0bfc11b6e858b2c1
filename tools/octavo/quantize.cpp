// octavo quantize: the codes, scales and mean of one operand, written to a safetensors file.
#include "octavo/quantize.hpp"

#include <memory>
#include <vector>

#include "call_options.hpp"
#include "commands.hpp"
#include "common/elements.hpp"
#include "common/error_metrics.hpp"
#include "common/failure.hpp"
#include "common/output_files.hpp"
#include "io/safetensors.hpp"
#include "octavo/implementation.hpp"
#include "role_option.hpp"
#include "tensor_argument.hpp"

namespace octavo::tool {
namespace {

struct Options {
  CallOptions call;
  std::string file, role = "k", layout = "NHD", cu_seqlens, kv_lens, key_mask, out;
};

// s4 codes have two per byte along the last axis; no file format has this dtype: they are written as bytes.
TensorView as_bytes(const TensorView& codes) {
  if (codes.dtype != DType::s4) return codes;
  TensorView bytes = codes;
  bytes.dtype = DType::u8;
  const auto last = static_cast<std::size_t>(codes.rank - 1);
  bytes.shape[last] = (codes.shape[last] + 1) / 2;
  for (std::size_t axis = 0; axis < last; ++axis) bytes.strides[axis] = codes.strides[axis] / 2;
  return bytes;
}

// An optional argument: a file's tensor, or nothing.
io::Tensor load_optional(const std::string& argument) {
  return argument.empty() ? io::Tensor{} : load_tensor(argument);
}
TensorView view_of(const io::Tensor& tensor, const std::string& argument) {
  return argument.empty() ? TensorView{} : tensor.view();
}

// Zeros in place of keys that do not exist; values [B, N, H, D] or [B, H, N, D], dense.
void clear_hidden(std::vector<double>& values, const TensorView& x, Layout layout, const TensorView& kv_lens,
                  const TensorView& key_mask) {
  if (!kv_lens.given() && !key_mask.given()) return;
  const std::vector<double> lens = kv_lens.given() ? to_f64(kv_lens) : std::vector<double>{};
  const std::vector<double> exists = key_mask.given() ? to_f64(key_mask) : std::vector<double>{};
  const bool nhd = layout == Layout::nhd;
  const auto keys = static_cast<std::size_t>(x.shape[nhd ? 1 : 2]),
             heads = static_cast<std::size_t>(x.shape[nhd ? 2 : 1]);
  const auto dim = static_cast<std::size_t>(x.shape[3]);
  for (std::size_t row = 0; dim > 0 && row < values.size() / dim; ++row) {
    const std::size_t b = row / (keys * heads), key = nhd ? row / heads % keys : row % keys;
    const bool hidden =
        (!lens.empty() && static_cast<double>(key) >= lens[b]) || (!exists.empty() && exists[b * keys + key] == 0);
    for (std::size_t d = 0; hidden && d < dim; ++d) values[row * dim + d] = 0;
  }
}

void run(const Options& options) {
  if (!options.out.empty() && !options.out.ends_with(".safetensors")) {
    fail(kExitUsage,
         "'" + options.out + "': codes, scales and mean are written to one file; its name must end in .safetensors");
  }
  check_outputs({{"--out", options.out}, {"--json", options.call.json}}, {{"the tensor's file", file_of(options.file)},
                                                                          {"--cu-seqlens", file_of(options.cu_seqlens)},
                                                                          {"--kv-lens", file_of(options.kv_lens)},
                                                                          {"--key-mask", file_of(options.key_mask)}});
  const Recipe recipe = params_of(options.call).recipe;
  const Execution execution = execution_of(options.call);
  const Layout layout = layout_of(options.layout);
  const io::Tensor x = load_tensor(options.file);
  const bool varlen = !options.cu_seqlens.empty();
  const io::Tensor cu_seqlens = load_optional(options.cu_seqlens);
  const io::Tensor lens_file = load_optional(options.kv_lens), mask_file = load_optional(options.key_mask);
  const TensorView kv_lens = view_of(lens_file, options.kv_lens), key_mask = view_of(mask_file, options.key_mask);
  const TensorView operand = varlen ? x.view() : with_batch(x.view(), layout, "the tensor");
  const QuantizedTensor quantized = value_of(quantize(operand, role_of(options.role), recipe, layout, execution,
                                                      view_of(cu_seqlens, options.cu_seqlens), kv_lens, key_mask));
  const QuantizedView& view = quantized.view();

  const std::vector<std::int64_t> shape(operand.shape.begin(), operand.shape.begin() + operand.rank);
  const io::Tensor back = value_of(io::Tensor::allocate("dequantized", DType::f32, shape));
  require(dequantize(view, back.view(), execution));
  std::vector<double> made = to_f64(back.view()), given = to_f64(operand);
  for (std::vector<double>* values : {&made, &given}) clear_hidden(*values, operand, layout, kv_lens, key_mask);
  const ErrorMetrics metrics = compare(made, given);

  std::vector<io::NamedView> tensors{{"codes", as_bytes(view.codes)}};
  if (view.scales.given()) tensors.push_back({"scales", view.scales});
  if (view.mean.given()) tensors.push_back({"mean", view.mean});
  if (view.cu_seqlens.given()) tensors.push_back({"cu_seqlens", view.cu_seqlens});
  const std::string dtype(to_string(view.codes.dtype));
  if (!options.out.empty()) {
    require_file(io::write_safetensors(options.out, tensors,
                                       {{"recipe", to_string(recipe)},
                                        {"role", options.role},
                                        {"layout", std::string(to_string(layout))},
                                        {"codes_dtype", dtype},
                                        {"codes_shape", shape_string(view.codes)},
                                        {"rotated", view.rotated ? "1" : "0"}}));
  }
  const auto shape_or_none = [](const TensorView& tensor) {
    return tensor.given() ? shape_string(tensor) : std::string("none");
  };
  std::fprintf(text_stream(options.call.json),
               "codes %s %s  scales %s  mean %s  relative L2 of the round trip %.3f %%%s%s\n", dtype.c_str(),
               shape_string(view.codes).c_str(), shape_or_none(view.scales).c_str(), shape_or_none(view.mean).c_str(),
               100 * metrics.relative_l2, options.out.empty() ? "" : "  -> ", options.out.c_str());
  write_json(options.call.json, {{"schema_version", kSchemaVersion},
                                 {"kind", "quantize"},
                                 {"recipe", to_string(recipe)},
                                 {"role", options.role},
                                 {"layout", to_string(layout)},
                                 {"codes", {{"dtype", dtype}, {"shape", shape_string(view.codes)}}},
                                 {"scales", {{"shape", shape_or_none(view.scales)}}},
                                 {"mean", {{"shape", shape_or_none(view.mean)}}},
                                 {"rotated", view.rotated},
                                 {"relative_l2", metrics.relative_l2},
                                 {"out", options.out},
                                 {"implementation", last_implementation()}});
}

}  // namespace

void add_quantize(CLI::App& octavo) {
  auto options = std::make_shared<Options>();
  CLI::App* command = octavo.add_subcommand("quantize", "Write codes and scales of a tensor");
  command->add_option("tensor", options->file, "FILE or FILE:NAME, [B, N, H, D]; the batch axis is optional")
      ->required();
  add_role_option(*command, options->role);
  add_recipe_option(*command, options->call);
  command->add_option("--layout", options->layout, "NHD or HND")->capture_default_str();
  command
      ->add_option("--cu-seqlens", options->cu_seqlens,
                   "s32 or s64 [B + 1]: varlen sequences; the tensors have three axes")
      ->type_name("FILE[:NAME]");
  command->add_option("--kv-lens", options->kv_lens, "s32 or s64 [B]: number of keys of each sequence; roles k and v")
      ->type_name("FILE[:NAME]");
  command->add_option("--key-mask", options->key_mask, "bool [B, N]: which keys exist; roles k and v")
      ->type_name("FILE[:NAME]");
  command->add_option("--out", options->out, "Output file for codes, scales and mean: .safetensors");
  add_machine_options(*command, options->call);
  command->footer(
      "Example:\n"
      "  octavo quantize data/smollm2_qkv_small.safetensors:L0.k --role k --layout HND --out k.safetensors");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
