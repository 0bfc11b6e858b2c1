// octavo run: one attention call on tensors from files; writes O and LSE.
#include <memory>
#include <utility>
#include <vector>

#include "call_options.hpp"
#include "commands.hpp"
#include "failure.hpp"
#include "machine.hpp"
#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"
#include "tensor_argument.hpp"
#include "timing.hpp"

namespace octavo::tool {
namespace {

struct Options {
  CallOptions call;
  std::string q, k, v, mask, sinks, alibi_slopes, kv_lens, cu_seqlens_q, cu_seqlens_k;
  std::string layout = "NHD", out, lse, out_dtype;
};

// Tensors that stay alive for the call; an empty argument gives none.
class Loaded {
 public:
  TensorView operator()(const std::string& argument) {
    if (argument.empty()) return {};
    tensors_.push_back(load_tensor(argument));
    return tensors_.back().view();
  }

 private:
  std::vector<io::Tensor> tensors_;
};

// [B, M, Hq, Dv] or [B, Hq, M, Dv]; packed: three axes.
io::Tensor allocate_output(const AttentionInputs& inputs, DType dtype) {
  std::vector<std::int64_t> shape(inputs.q.shape.begin(), inputs.q.shape.begin() + inputs.q.rank);
  shape.back() = inputs.v.shape[static_cast<std::size_t>(inputs.v.rank - 1)];
  return value_of(io::Tensor::allocate("o", dtype, shape));
}

io::Tensor allocate_lse(const AttentionInputs& inputs) {
  std::vector<std::int64_t> shape(inputs.q.shape.begin(), inputs.q.shape.begin() + inputs.q.rank - 1);
  if (inputs.layout == Layout::nhd) std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
  return value_of(io::Tensor::allocate("lse", DType::f32, shape));
}

void check_target(const std::string& path) {
  if (path.empty() || path.ends_with(".npy") || path.ends_with(".safetensors")) return;
  fail(kExitUsage, "'" + path + "': the name ends neither in .npy nor in .safetensors");
}

void run(const Options& options) {
  check_target(options.out);
  check_target(options.lse);
  const AttentionParams params = params_of(options.call);
  const Execution execution = execution_of(options.call);
  Loaded load;
  AttentionInputs inputs;
  inputs.layout = layout_of(options.layout);
  inputs.q = load(options.q);
  inputs.k = load(options.k);
  inputs.v = load(options.v);
  inputs.mask = load(options.mask);
  inputs.sinks = load(options.sinks);
  inputs.alibi_slopes = load(options.alibi_slopes);
  inputs.kv_lens = load(options.kv_lens);
  inputs.cu_seqlens_q = load(options.cu_seqlens_q);
  inputs.cu_seqlens_k = load(options.cu_seqlens_k);
  const int rank = inputs.q.rank;
  const bool packed = inputs.cu_seqlens_q.given() || inputs.cu_seqlens_k.given();
  if (!packed) {
    inputs.q = with_batch(inputs.q, inputs.layout, "--q");
    inputs.k = with_batch(inputs.k, inputs.layout, "--k");
    inputs.v = with_batch(inputs.v, inputs.layout, "--v");
  } else if (rank < 3) {
    fail(kExitUsage, "--q has shape " + shape_string(inputs.q) + "; with cu_seqlens it has three axes");
  }
  const io::Tensor out =
      allocate_output(inputs, options.out_dtype.empty() ? inputs.q.dtype : float_dtype_of(options.out_dtype));
  inputs.out = out.view();
  io::Tensor lse;
  if (!options.lse.empty()) {
    lse = allocate_lse(inputs);
    inputs.lse = lse.view();
  }

  const double time = microseconds([&] { require(attention(inputs, params, execution)); });
  const TensorView written = packed ? out.view() : without_batch(out.view(), rank, inputs.layout);
  if (!options.out.empty()) require_file(io::write_tensor(options.out, "o", written));
  if (!options.lse.empty()) {
    TensorView view = lse.view();
    if (!packed && rank == 3) view = TensorView(view.data, view.dtype, {view.shape[1], view.shape[2]});
    if (!packed && rank == 2) view = TensorView(view.data, view.dtype, {view.shape[2]});
    require_file(io::write_tensor(options.lse, "lse", view));
  }
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
                {"q", shape_string(inputs.q)},
                {"k", shape_string(inputs.k)},
                {"v", shape_string(inputs.v)},
                {"dtype", to_string(inputs.q.dtype)},
                {"causal", causal_word(params.causal)},
                {"window", {params.window_left, params.window_right}},
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
  const auto tensor = [&](const char* flag, std::string& value, const char* help) {
    return command->add_option(flag, value, help)->type_name("FILE[:NAME]");
  };
  tensor("--q", options->q, "Queries [B, M, Hq, D]; the batch axis may be missing")->required();
  tensor("--k", options->k, "Keys [B, N, Hkv, D]")->required();
  tensor("--v", options->v, "Values [B, N, Hkv, Dv]")->required();
  command->add_option("--layout", options->layout, "NHD [batch, seqlen, heads, dim] or HND")->capture_default_str();
  add_recipe_option(*command, options->call);
  add_mask_options(*command, options->call);
  tensor("--mask", options->mask, "bool or float, broadcast to [B, Hq, M, N]");
  tensor("--sinks", options->sinks, "One extra logit per head [Hq]");
  tensor("--alibi-slopes", options->alibi_slopes, "f32 [Hq] or [B, Hq]");
  tensor("--kv-lens", options->kv_lens, "s32 or s64 [B]");
  tensor("--cu-seqlens-q", options->cu_seqlens_q, "s32 or s64 [B + 1]: packed sequences, three axes");
  tensor("--cu-seqlens-k", options->cu_seqlens_k, "s32 or s64 [B + 1]");
  command->add_option("--out", options->out, "Where O goes: .npy or .safetensors");
  command->add_option("--out-dtype", options->out_dtype, "f32, f16 or bf16; default as --q");
  command->add_option("--lse", options->lse, "Where the log-sum-exp goes, f32 [B, Hq, M]");
  add_machine_options(*command, options->call);
  command->footer(
      "Examples:\n"
      "  octavo run --q q.npy --k k.npy --v v.npy --recipe int8 --causal --out o.npy --lse lse.npy\n"
      "  octavo run --layout HND --q f.safetensors:L0.q --k f.safetensors:L0.k --v f.safetensors:L0.v "
      "--out o.safetensors");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
