// Shared by the bindings: conversion of a Status to an exception, and the arguments of a call.
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

// The arguments of attention() and workspace_size(). Python sets the options that differ from their defaults. Call
// holds views only: the caller keeps the arrays alive.
struct Call {
  AttentionInputs inputs;
  AttentionParams params;
  Execution execution;
  std::array<QuantizedView, 3> quantized;
  std::string implementation;

  Call(nb::handle q, nb::handle k, nb::handle v, const TensorView& out, Layout layout) {
    operand(q, inputs.q, inputs.quantized_q, quantized[0]);
    operand(k, inputs.k, inputs.quantized_k, quantized[1]);
    operand(v, inputs.v, inputs.quantized_v, quantized[2]);
    inputs.out = out;
    inputs.layout = layout;
  }
  Call(const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& out, Layout layout) {
    inputs.q = q;
    inputs.k = k;
    inputs.v = v;
    inputs.out = out;
    inputs.layout = layout;
  }
  Call(const Call&) = delete;  // the inputs point into the object itself
  Call& operator=(const Call&) = delete;

  void set_implementation(std::string_view name) {
    implementation = name;
    execution.implementation = implementation;
  }
  void set_workspace(const TensorView& bytes) {
    execution.workspace = bytes.data;
    execution.workspace_bytes = static_cast<std::size_t>(bytes.elements());
  }

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
// octavo.KVCache's core.
void bind_kv_cache(nb::module_& m);

}  // namespace octavo::python
