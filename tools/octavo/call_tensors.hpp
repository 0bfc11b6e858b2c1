// The tensors of an attention call as flags that name files, and the call's inputs and results made from them.
#pragma once

#include <CLI/CLI.hpp>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "common/output.hpp"
#include "common/output_files.hpp"
#include "io/tensor.hpp"
#include "octavo/attention.hpp"
#include "quantized_file.hpp"

namespace octavo::tool {

// Empty: not given.
struct TensorOptions {
  std::string q, k, v, mask, key_mask, sinks, alibi_slopes, kv_lens, cu_seqlens_q, cu_seqlens_k;
  std::string layout = "NHD";

  bool any() const;
};

// --q --k --v --mask --key-mask --sinks --alibi-slopes --kv-lens --cu-seqlens-q --cu-seqlens-k --layout
void add_tensor_options(CLI::App& command, TensorOptions& options, bool required);

// The inputs of a call whose tensors this object keeps alive. q, k and v may lack the batch axis (one head, too, the
// head axis); the results then lack it as well. Each may be a file of codes, which has all axes.
class CallTensors {
 public:
  // Reads the files; a tensor that is missing or of another rank is a failure of usage.
  explicit CallTensors(const TensorOptions& options);
  CallTensors(const CallTensors&) = delete;
  CallTensors& operator=(const CallTensors&) = delete;

  AttentionInputs inputs;  // out and lse are the caller's to set

  // q, k or v as floats or codes, with the axes of the call's layout; of codes, only what it says is of use.
  const TensorView& operand(Role role) const { return operands_[static_cast<std::size_t>(role)]; }
  // f32 for codes.
  DType float_dtype() const { return inputs.q.given() ? inputs.q.dtype : DType::f32; }

  // [B, M, Hq, Dv] or [B, Hq, M, Dv]; varlen: three axes.
  io::Tensor allocate_output(DType dtype) const;
  // f32 [B, Hq, M]; varlen: [Hq, total]
  io::Tensor allocate_lse() const;
  // A result with the axes that q had.
  TensorView as_given(const io::Tensor& output) const;
  TensorView lse_as_given(const io::Tensor& lse) const;

 private:
  TensorView load(const std::string& argument);
  TensorView load_operand(const std::string& argument, Role role, TensorView& floats, const QuantizedView*& codes);

  std::vector<io::Tensor> tensors_;
  std::array<std::optional<QuantizedFile>, 3> codes_;
  std::array<TensorView, 3> operands_;
  int rank_ = 0;
  bool varlen_ = false;
};

// The files that a call reads.
std::vector<NamedFile> input_files(const TensorOptions& options);
// File names of what was given, by flag.
Json files_json(const TensorOptions& options);

}  // namespace octavo::tool
