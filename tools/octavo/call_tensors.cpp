#include "call_tensors.hpp"

#include <cstdint>
#include <utility>

#include "call_options.hpp"
#include "common/failure.hpp"
#include "tensor_argument.hpp"

namespace octavo::tool {
namespace {

struct Flag {
  const char* name;
  std::string TensorOptions::* argument;
  const char* help;
};

constexpr Flag kFlags[] = {
    {"--q", &TensorOptions::q, "Queries [B, M, Hq, D], the batch axis is optional; or codes of octavo quantize"},
    {"--k", &TensorOptions::k, "Keys [B, N, Hkv, D]"},
    {"--v", &TensorOptions::v, "Values [B, N, Hkv, Dv]"},
    {"--mask", &TensorOptions::mask, "bool (may attend) or float (added), broadcast to [B, Hq, M, N]"},
    {"--key-mask", &TensorOptions::key_mask, "bool [B, N]: which keys exist"},
    {"--sinks", &TensorOptions::sinks, "One extra logit per head [Hq], floats"},
    {"--alibi-slopes", &TensorOptions::alibi_slopes, "[Hq] or [B, Hq], floats"},
    {"--kv-lens", &TensorOptions::kv_lens, "s32 or s64 [B]: number of keys of each sequence"},
    {"--cu-seqlens-q", &TensorOptions::cu_seqlens_q,
     "s32 or s64 [B + 1]: varlen sequences; the tensors have three axes"},
    {"--cu-seqlens-k", &TensorOptions::cu_seqlens_k, "s32 or s64 [B + 1]"},
};
constexpr int kOperands = 3;

}  // namespace

bool TensorOptions::any() const {
  for (const Flag& flag : kFlags) {
    if (!(this->*flag.argument).empty()) return true;
  }
  return false;
}

void add_tensor_options(CLI::App& command, TensorOptions& options, bool required) {
  int index = 0;
  for (const Flag& flag : kFlags) {
    CLI::Option* option = command.add_option(flag.name, options.*flag.argument, flag.help)->type_name("FILE[:NAME]");
    if (required && index++ < kOperands) option->required();
  }
  command.add_option("--layout", options.layout, "NHD [batch, seqlen, heads, dim] or HND")->capture_default_str();
}

CallTensors::CallTensors(const TensorOptions& options) {
  for (int operand = 0; operand < kOperands; ++operand) {
    if ((options.*kFlags[operand].argument).empty()) {
      fail(kExitUsage, std::string(kFlags[operand].name) + " is missing; --q, --k and --v are required");
    }
  }
  inputs.layout = layout_of(options.layout);
  operands_[0] = load_operand(options.q, Role::q, inputs.q, inputs.quantized_q);
  operands_[1] = load_operand(options.k, Role::k, inputs.k, inputs.quantized_k);
  operands_[2] = load_operand(options.v, Role::v, inputs.v, inputs.quantized_v);
  inputs.mask = load(options.mask);
  inputs.key_mask = load(options.key_mask);
  inputs.sinks = load(options.sinks);
  inputs.alibi_slopes = load(options.alibi_slopes);
  inputs.kv_lens = load(options.kv_lens);
  inputs.cu_seqlens_q = load(options.cu_seqlens_q);
  inputs.cu_seqlens_k = load(options.cu_seqlens_k);
  rank_ = operands_[0].rank;
  varlen_ = inputs.cu_seqlens_q.given() || inputs.cu_seqlens_k.given();
  if (!varlen_) {
    TensorView* const floats[] = {&inputs.q, &inputs.k, &inputs.v};
    for (std::size_t operand = 0; operand < operands_.size(); ++operand) {
      operands_[operand] = with_batch(operands_[operand], inputs.layout, kFlags[operand].name);
      if (floats[operand]->given()) *floats[operand] = operands_[operand];
    }
  } else if (rank_ != 3) {
    fail(kExitUsage, "--q has shape " + shape_string(operands_[0]) + "; with cu_seqlens three axes are required");
  }
}

// The operand as it was given, in the call's layout.
TensorView CallTensors::load_operand(const std::string& argument, Role role, TensorView& floats,
                                     const QuantizedView*& codes) {
  std::optional<QuantizedFile>& file = codes_[static_cast<std::size_t>(role)];
  file = load_quantized(argument);
  if (!file) return floats = load(argument);
  codes = &file->view;
  TensorView view = file->view.codes;
  if (view.rank >= 3 && file->view.layout != inputs.layout)
    std::swap(view.shape[static_cast<std::size_t>(view.rank - 3)], view.shape[static_cast<std::size_t>(view.rank - 2)]);
  return view;
}

TensorView CallTensors::load(const std::string& argument) {
  if (argument.empty()) return {};
  tensors_.push_back(load_tensor(argument));
  return tensors_.back().view();
}

io::Tensor CallTensors::allocate_output(DType dtype) const {
  const TensorView &q = operand(Role::q), &v = operand(Role::v);
  std::vector<std::int64_t> shape(q.shape.begin(), q.shape.begin() + q.rank);
  shape.back() = v.shape[static_cast<std::size_t>(v.rank - 1)];
  return value_of(io::Tensor::allocate("o", dtype, shape));
}

io::Tensor CallTensors::allocate_lse() const {
  const TensorView& q = operand(Role::q);
  std::vector<std::int64_t> shape(q.shape.begin(), q.shape.begin() + q.rank - 1);
  if (inputs.layout == Layout::nhd) std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
  return value_of(io::Tensor::allocate("lse", DType::f32, shape));
}

TensorView CallTensors::as_given(const io::Tensor& output) const {
  return varlen_ ? output.view() : without_batch(output.view(), rank_, inputs.layout);
}

TensorView CallTensors::lse_as_given(const io::Tensor& lse) const {
  const TensorView view = lse.view();
  if (varlen_ || rank_ == 4) return view;
  if (rank_ == 3) return TensorView(view.data, view.dtype, {view.shape[1], view.shape[2]});
  return TensorView(view.data, view.dtype, {view.shape[2]});
}

std::vector<NamedFile> input_files(const TensorOptions& options) {
  std::vector<NamedFile> files;
  for (const Flag& flag : kFlags) files.push_back({flag.name, file_of(options.*flag.argument)});
  return files;
}

Json files_json(const TensorOptions& options) {
  Json files = Json::object();
  for (const Flag& flag : kFlags) {
    if (!(options.*flag.argument).empty()) files[flag.name + 2] = options.*flag.argument;
  }
  return files;
}

}  // namespace octavo::tool
