// octavo run: one attention call on tensors from files; writes O and LSE.
#include <cmath>
#include <memory>

#include "call_options.hpp"
#include "call_tensors.hpp"
#include "commands.hpp"
#include "common/failure.hpp"
#include "common/machine.hpp"
#include "common/timing.hpp"
#include "device_tensors.hpp"
#include "io/tensor_file.hpp"
#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"

namespace octavo::tool {
namespace {

struct Options {
  CallOptions call;
  TensorOptions tensors;
  std::string out, lse, out_dtype;
};

void check_target(const std::string& path) {
  if (path.empty() || path.ends_with(".npy") || path.ends_with(".safetensors")) return;
  fail(kExitUsage, "'" + path + "': the name must end in .npy or .safetensors");
}

void run(const Options& options) {
  check_target(options.out);
  check_target(options.lse);
  check_outputs({{"--out", options.out}, {"--lse", options.lse}, {"--json", options.call.json}},
                input_files(options.tensors));
  const AttentionParams params = params_of(options.call);
  const Execution execution = device_execution_of(options.call);
  DeviceTensors device(device_of(options.call));
  CallTensors tensors(options.tensors);
  AttentionInputs& inputs = tensors.inputs;
  const io::Tensor out =
      tensors.allocate_output(options.out_dtype.empty() ? tensors.float_dtype() : float_dtype_of(options.out_dtype));
  inputs.out = out.view();
  io::Tensor lse;
  if (!options.lse.empty()) {
    lse = tensors.allocate_lse();
    inputs.lse = lse.view();
  }

  const AttentionInputs call = device.moved(inputs);
  const double time = microseconds([&] {
    require(attention(call, params, execution));
    device.wait();
  });
  device.fetch(out.view());
  if (inputs.lse.given()) device.fetch(lse.view());
  const TensorView written = tensors.as_given(out);
  if (!options.out.empty()) require_file(io::write_tensor(options.out, "o", written));
  if (!options.lse.empty()) require_file(io::write_tensor(options.lse, "lse", tensors.lse_as_given(lse)));
  const std::string implementation(last_implementation());
  std::fprintf(text_stream(options.call.json), "O %s %s  %s  %s  %.1f us%s%s\n",
               std::string(to_string(written.dtype)).c_str(), shape_string(written).c_str(),
               to_string(params.recipe).c_str(), implementation.c_str(), time, options.out.empty() ? "" : "  -> ",
               options.out.c_str());
  write_json(options.call.json,
             {{"schema_version", kSchemaVersion},
              {"kind", "run"},
              {"machine", machine()},
              {"parameters",
               {{"recipe", to_string(params.recipe)},
                {"layout", to_string(inputs.layout)},
                {"q", shape_string(tensors.operand(Role::q))},
                {"k", shape_string(tensors.operand(Role::k))},
                {"v", shape_string(tensors.operand(Role::v))},
                {"dtype", to_string(tensors.operand(Role::q).dtype)},
                {"causal", causal_word(params.causal)},
                {"window", {params.window_left, params.window_right}},
                {"scale", std::isnan(params.softmax_scale) ? Json("1/sqrt(head_dim)") : Json(params.softmax_scale)},
                {"softcap", params.softcap},
                {"files", files_json(options.tensors)},
                {"device", options.call.device},
                {"threads", num_threads()}}},
              {"out", {{"file", options.out}, {"shape", shape_string(written)}, {"dtype", to_string(written.dtype)}}},
              {"lse", {{"file", options.lse}}},
              {"time_us", time_json({time})},
              {"implementation", implementation}});
}

}  // namespace

void add_run(CLI::App& octavo) {
  auto options = std::make_shared<Options>();
  CLI::App* command = octavo.add_subcommand("run", "Attention on .npy or .safetensors files; writes O and LSE");
  add_tensor_options(*command, options->tensors, true);
  add_recipe_option(*command, options->call);
  add_mask_options(*command, options->call);
  add_alibi_option(*command, options->call);
  command->add_option("--out", options->out, "Output file for O: .npy or .safetensors");
  command->add_option("--out-dtype", options->out_dtype, "f32, f16 or bf16; default as --q, f32 for codes");
  command->add_option("--lse", options->lse, "Output file for the log-sum-exp, f32 [B, Hq, M]");
  add_machine_options(*command, options->call);
  command->footer(
      "Examples:\n"
      "  octavo run --q q.npy --k k.npy --v v.npy --recipe int8 --causal --out o.npy --lse lse.npy\n"
      "  octavo run --layout HND --q f.safetensors:L0.q --k f.safetensors:L0.k --v f.safetensors:L0.v "
      "--out o.safetensors");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
