// What the bindings share: how a Status becomes an exception, and the arguments of a call on views that others own.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "octavo/octavo.hpp"

namespace octavo::python {

namespace nb = nanobind;

class StatusError : public std::exception {
 public:
  explicit StatusError(Status status) : status_(std::move(status)) {}
  const char* what() const noexcept override { return status_.message().c_str(); }
  PyObject* type() const noexcept {
    switch (status_.code()) {
      case StatusCode::kInvalidArgument:
        return PyExc_ValueError;
      case StatusCode::kUnimplemented:
        return PyExc_NotImplementedError;
      case StatusCode::kResourceExhausted:
        return PyExc_MemoryError;
      default:
        return PyExc_RuntimeError;
    }
  }

 private:
  Status status_;
};

inline void check(Status status) {
  if (!status.ok()) throw StatusError(std::move(status));
}

template <class T>
T value(Result<T> result) {
  check(result.status());
  return *std::move(result);
}

// The arguments of attention() and workspace_size(). It holds views only: the caller keeps the arrays alive.
struct Call {
  AttentionInputs inputs;
  AttentionParams params;
  Execution execution;
  std::array<QuantizedView, 3> quantized;
  std::string implementation;

  Call(nb::handle q, nb::handle k, nb::handle v, const TensorView& out, const TensorView* lse, const TensorView* mask,
       const TensorView* alibi_slopes, const TensorView* sinks, const TensorView* kv_lens,
       const TensorView* cu_seqlens_q, const TensorView* cu_seqlens_k, Layout layout, const Recipe& recipe,
       double scale, Causal causal, std::int64_t window_left, std::int64_t window_right, double softcap,
       std::string_view implementation_name, std::uintptr_t stream, const TensorView* workspace)
      : implementation(implementation_name) {
    operand(q, inputs.q, inputs.quantized_q, quantized[0]);
    operand(k, inputs.k, inputs.quantized_k, quantized[1]);
    operand(v, inputs.v, inputs.quantized_v, quantized[2]);
    inputs.out = out;
    const auto optional = [](const TensorView* given) { return given != nullptr ? *given : TensorView{}; };
    inputs.lse = optional(lse);
    inputs.mask = optional(mask);
    inputs.alibi_slopes = optional(alibi_slopes);
    inputs.sinks = optional(sinks);
    inputs.kv_lens = optional(kv_lens);
    inputs.cu_seqlens_q = optional(cu_seqlens_q);
    inputs.cu_seqlens_k = optional(cu_seqlens_k);
    inputs.layout = layout;
    params = {recipe, scale, causal, window_left, window_right, softcap};
    execution.implementation = implementation;
    execution.stream = reinterpret_cast<void*>(stream);
    if (workspace != nullptr) {
      execution.workspace = workspace->data;
      execution.workspace_bytes = static_cast<std::size_t>(workspace->elements());
    }
  }
  Call(const Call&) = delete;  // the inputs point into the object itself
  Call& operator=(const Call&) = delete;

 private:
  static void operand(nb::handle given, TensorView& floats, const QuantizedView*& pointer, QuantizedView& codes) {
    if (nb::isinstance<QuantizedView>(given)) {
      codes = nb::cast<const QuantizedView&>(given);
      pointer = &codes;
    } else {
      floats = nb::cast<const TensorView&>(given);
    }
  }
};

// octavo.reference.trace: `trace(call)`.
void bind_trace(nb::module_& m);

}  // namespace octavo::python
