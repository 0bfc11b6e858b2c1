// octavo_attention(), octavo_workspace_size() and octavo_merge_state() over the C++ calls of the same names.
#include "octavo/attention.hpp"

#include "capi/convert.hpp"
#include "capi/error.hpp"
#include "capi/sized_struct.hpp"
#include "octavo/merge.hpp"

namespace octavo::capi {
namespace {

// The arguments of a call in C++'s types; on the stack, so that a call with a workspace allocates nothing.
struct AttentionArguments {
  AttentionInputs inputs;
  AttentionParams params;
  ExecutionArgument execution;
  QuantizedView q, k, v;
};

struct NamedTensor {
  const octavo_tensor_t* from;
  std::string_view name;
  TensorView& to;
};

Status read_inputs(const octavo_attention_inputs_t* from, AttentionArguments& to) {
  if (Status status = check_given(from, "inputs"); !status.ok()) return status;
  octavo_attention_inputs_t inputs = OCTAVO_ATTENTION_INPUTS_INIT;
  if (Status status = read_struct(from, "inputs", "octavo_attention_inputs_t", inputs); !status.ok()) return status;
  if (Status status = check_reserved("inputs", inputs.reserved); !status.ok()) return status;
  AttentionInputs& all = to.inputs;
  const NamedTensor tensors[] = {{inputs.q, "q", all.q},
                                 {inputs.k, "k", all.k},
                                 {inputs.v, "v", all.v},
                                 {inputs.out, "out", all.out},
                                 {inputs.lse, "lse", all.lse},
                                 {inputs.mask, "mask", all.mask},
                                 {inputs.key_mask, "key_mask", all.key_mask},
                                 {inputs.alibi_slopes, "alibi_slopes", all.alibi_slopes},
                                 {inputs.sinks, "sinks", all.sinks},
                                 {inputs.kv_lens, "kv_lens", all.kv_lens},
                                 {inputs.cu_seqlens_q, "cu_seqlens_q", all.cu_seqlens_q},
                                 {inputs.cu_seqlens_k, "cu_seqlens_k", all.cu_seqlens_k}};
  for (const NamedTensor& tensor : tensors) {
    if (Status status = read_tensor(tensor.from, tensor.name, tensor.to); !status.ok()) return status;
  }
  const struct {
    const octavo_quantized_view_t* from;
    std::string_view name;
    QuantizedView& view;
    const QuantizedView*& to;
  } views[] = {{inputs.quantized_q, "quantized_q", to.q, all.quantized_q},
               {inputs.quantized_k, "quantized_k", to.k, all.quantized_k},
               {inputs.quantized_v, "quantized_v", to.v, all.quantized_v}};
  for (const auto& view : views) {
    if (view.from == nullptr) continue;
    if (Status status = read_quantized_view(view.from, view.name, view.view); !status.ok()) return status;
    view.to = &view.view;
  }
  return read_enumerator("inputs.layout", inputs.layout, Layout::hnd, all.layout);
}

Status read_params(const octavo_attention_params_t* from, AttentionParams& to) {
  if (from == nullptr) return {};
  octavo_attention_params_t params = OCTAVO_ATTENTION_PARAMS_INIT;
  if (Status status = read_struct(from, "params", "octavo_attention_params_t", params); !status.ok()) return status;
  if (Status status = read_recipe(params.recipe, to.recipe); !status.ok()) return status;
  to.softmax_scale = params.softmax_scale;
  to.window_left = params.window_left;
  to.window_right = params.window_right;
  to.softcap = params.softcap;
  if (Status status = read_enumerator("params.alibi", params.alibi, Alibi::symmetric, to.alibi); !status.ok())
    return status;
  return read_enumerator("params.causal", params.causal, Causal::top_left, to.causal);
}

Status read(const octavo_attention_inputs_t* inputs, const octavo_attention_params_t* params,
            const octavo_execution_t* execution, AttentionArguments& to) {
  if (Status status = read_inputs(inputs, to); !status.ok()) return status;
  if (Status status = read_params(params, to.params); !status.ok()) return status;
  return read_execution(execution, to.execution);
}

static_assert(static_cast<int>(Causal::bottom_right) == OCTAVO_CAUSAL_BOTTOM_RIGHT);
static_assert(static_cast<int>(Causal::top_left) == OCTAVO_CAUSAL_TOP_LEFT);
static_assert(static_cast<int>(Alibi::symmetric) == OCTAVO_ALIBI_SYMMETRIC);

}  // namespace
}  // namespace octavo::capi

octavo_status_t octavo_attention(const octavo_attention_inputs_t* inputs, const octavo_attention_params_t* params,
                                 const octavo_execution_t* execution) {
  return octavo::capi::guarded([&]() -> octavo::Status {
    octavo::capi::AttentionArguments arguments;
    if (octavo::Status status = read(inputs, params, execution, arguments); !status.ok()) return status;
    return octavo::attention(arguments.inputs, arguments.params, arguments.execution.execution);
  });
}

octavo_status_t octavo_workspace_size(const octavo_attention_inputs_t* inputs, const octavo_attention_params_t* params,
                                      const octavo_execution_t* execution, size_t* bytes) {
  return octavo::capi::guarded([&]() -> octavo::Status {
    if (octavo::Status status = octavo::capi::check_given(bytes, "bytes"); !status.ok()) return status;
    octavo::capi::AttentionArguments arguments;
    if (octavo::Status status = read(inputs, params, execution, arguments); !status.ok()) return status;
    const octavo::Result<std::size_t> size =
        octavo::workspace_size(arguments.inputs, arguments.params, arguments.execution.execution);
    if (size.ok()) *bytes = *size;
    return size.status();
  });
}

octavo_status_t octavo_merge_state(const octavo_tensor_t* o_a, const octavo_tensor_t* lse_a, const octavo_tensor_t* o_b,
                                   const octavo_tensor_t* lse_b, const octavo_tensor_t* out, const octavo_tensor_t* lse,
                                   int32_t layout, const octavo_execution_t* execution) {
  return octavo::capi::guarded([&]() -> octavo::Status {
    octavo::TensorView views[6];
    const octavo::capi::NamedTensor tensors[] = {{o_a, "o_a", views[0]}, {lse_a, "lse_a", views[1]},
                                                 {o_b, "o_b", views[2]}, {lse_b, "lse_b", views[3]},
                                                 {out, "out", views[4]}, {lse, "lse", views[5]}};
    for (const octavo::capi::NamedTensor& tensor : tensors) {
      if (octavo::Status status = octavo::capi::check_given(tensor.from, tensor.name); !status.ok()) return status;
      octavo::Status status = octavo::capi::read_tensor(tensor.from, tensor.name, tensor.to);
      if (!status.ok()) return status;
    }
    octavo::Layout order = octavo::Layout::nhd;
    octavo::Status status = octavo::capi::read_enumerator("layout", layout, octavo::Layout::hnd, order);
    if (!status.ok()) return status;
    octavo::capi::ExecutionArgument how;
    status = octavo::capi::read_execution(execution, how);
    if (!status.ok()) return status;
    return octavo::merge_state(views[0], views[1], views[2], views[3], views[4], views[5], order, how.execution);
  });
}
