// octavo bench attention: time of one attention call on N(0, 1) data. Q [B, M, Hq, D], K [B, N, Hkv, D],
// V [B, N, Hkv, Dv] -> O [B, M, Hq, Dv].
#include <memory>
#include <optional>

#include "bench_shape.hpp"
#include "commands.hpp"
#include "common/failure.hpp"
#include "common/machine.hpp"
#include "common/peak.hpp"
#include "common/timing.hpp"
#include "device_tensors.hpp"
#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"

namespace octavo::tool {
namespace {

constexpr int kWarmUp = 2;

struct Options {
  BenchShape shape;
  CallOptions call;
  bool with_quantization = true;
  bool peak = false;
};

// The operand's codes, or nothing where the recipe keeps it in floats.
std::optional<QuantizedTensor> codes_of(const TensorView& x, Role role, const Recipe& recipe,
                                        const Execution& execution) {
  Result<QuantizedTensor> codes = quantize(x, role, recipe, Layout::nhd, execution);
  if (!codes.ok() && codes.status().code() == StatusCode::kUnimplemented) return std::nullopt;
  return value_of(std::move(codes));
}

void run(Options& options) {
  BenchShape& shape = options.shape;
  resolve(shape);
  const AttentionParams params = params_of(options.call);
  const Execution execution = device_execution_of(options.call);
  DeviceTensors device(device_of(options.call));
  const BenchTensors tensors(shape);
  AttentionInputs inputs = device.moved(tensors.inputs());

  std::optional<QuantizedTensor> codes[3];
  if (!options.with_quantization) {
    const auto replace = [&](std::size_t i, TensorView& x, Role role, const QuantizedView*& quantized) {
      codes[i] = codes_of(x, role, params.recipe, execution);
      if (!codes[i]) return;
      quantized = &codes[i]->view();
      x = {};
    };
    replace(0, inputs.q, Role::q, inputs.quantized_q);
    replace(1, inputs.k, Role::k, inputs.quantized_k);
    replace(2, inputs.v, Role::v, inputs.quantized_v);
  }

  const auto call = [&] {
    require(attention(inputs, params, execution));
    device.wait();
  };
  for (int i = 0; i < kWarmUp; ++i) call();
  const Times measured = repeat(shape.repeat, num_threads(), call);
  const std::vector<double>& times = measured.microseconds;

  const double operations = 2.0 * static_cast<double>(shape.batch * shape.heads) *
                            static_cast<double>(visible_pairs(shape.seqlen_q, shape.seqlen_k, params)) *
                            static_cast<double>(shape.head_dim + shape.value_head_dim);
  const double gops = operations / median(times) / 1e3;
  Json json = {{"schema_version", kSchemaVersion},
               {"kind", "attention"},
               {"machine", machine()},
               {"parameters", parameters_json(shape, options.call)},
               {"time_us", time_json(times)},
               {"cpu_share", measured.cpu_share},
               {"gops", gops},
               {"with_quantization", options.with_quantization},
               {"workspace_bytes", value_of(workspace_size(inputs, params, execution))},
               {"implementation", last_implementation()}};
  std::string line =
      format("%s  %s  median %.1f us (min %.1f, max %.1f)  %.1f gops%s", to_string(params.recipe).c_str(),
             std::string(last_implementation()).c_str(), median(times), *std::min_element(times.begin(), times.end()),
             *std::max_element(times.begin(), times.end()), gops,
             options.with_quantization ? "" : "  (operands quantized beforehand)");
  if (options.peak) {
    const Peak peak = measure_vnni(num_threads());
    const bool known = peak.instruction != nullptr;
    json["vnni_gops"] = known ? Json(peak.value) : Json(nullptr);
    json["vnni_cpu_share"] = known ? Json(peak.cpu_share) : Json(nullptr);
    json["fraction_of_vnni_peak"] = known ? Json(gops / peak.value) : Json(nullptr);
    line += known ? format("  %.1f %% of %.1f vnni_gops (measured with %.0f %% of the processor time)",
                           100 * gops / peak.value, peak.value, 100 * peak.cpu_share)
                  : "  no int8 peak here";
  }
  std::fprintf(text_stream(options.call.json), "%s\n", line.c_str());
  write_json(options.call.json, json);
}

}  // namespace

void add_bench_attention(CLI::App& bench) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("attention", "Time of an attention call on N(0, 1) data");
  add_recipe_option(*command, options->call);
  add_shape_options(*command, options->shape);
  add_mask_options(*command, options->call);
  command
      ->add_option("--with-quantization", options->with_quantization,
                   "false: quantize the operands beforehand, outside the measured time")
      ->type_name("true|false")
      ->capture_default_str();
  command->add_flag("--peak", options->peak, "Also measure the int8 peak and print the fraction reached");
  add_machine_options(*command, options->call);
  command->footer(
      "Examples:\n"
      "  octavo bench attention --recipe int8 --heads 8 --seqlen-q 4096 --head-dim 128 --threads 2\n"
      "  octavo bench attention --recipe int8 --causal --window 1024,0 --dtype bf16 --json -\n"
      "  octavo bench attention --recipe int8,smooth_q=off --with-quantization false --peak");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
