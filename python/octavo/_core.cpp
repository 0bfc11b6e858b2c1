// Bindings of the C++ interface, function by function: conversion of Python values to views, of a Status to an
// exception. Containers, keywords and defaults are in the Python modules.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "_call.hpp"
#include "octavo/octavo.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace octavo::python {
namespace {

// Device number of host memory.
constexpr int kHost = -1;

Device device_of(int number) { return number < 0 ? Device{} : Device{DeviceType::cuda, number}; }
int number_of(Device device) { return device.type == DeviceType::cuda ? device.index : kHost; }

// shape and strides: tuples of the same length, at most 4; strides count elements (nibbles for s4).
TensorView make_view(std::uintptr_t data, DType dtype, const nb::tuple& shape, const nb::tuple& strides, int device) {
  if (shape.size() != strides.size() || shape.size() > 4) {
    throw nb::value_error("a view has as many strides as extents, at most 4");
  }
  TensorView view;
  view.data = reinterpret_cast<void*>(data);
  view.dtype = dtype;
  view.device = device_of(device);
  view.rank = static_cast<int>(shape.size());
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    view.shape[axis] = nb::cast<std::int64_t>(shape[axis]);
    view.strides[axis] = nb::cast<std::int64_t>(strides[axis]);
  }
  return view;
}

std::optional<TensorView> view_of(const Py_buffer& buffer, DType dtype) {
  TensorView view;
  view.data = buffer.buf;
  view.dtype = dtype;
  view.rank = buffer.ndim;
  const Py_ssize_t size = buffer.itemsize;
  bool whole = buffer.ndim <= 4 && reinterpret_cast<std::uintptr_t>(buffer.buf) % static_cast<std::size_t>(size) == 0;
  for (int axis = 0; whole && axis < buffer.ndim; ++axis) {
    whole = buffer.strides[axis] % size == 0;
    view.shape[static_cast<std::size_t>(axis)] = buffer.shape[axis];
    view.strides[static_cast<std::size_t>(axis)] = buffer.strides[axis] / size;
  }
  return whole ? std::optional(view) : std::nullopt;
}

// A view of an object with the buffer protocol; none if its strides or its address are not multiples of the element
// size. At most 4 axes. The caller keeps the object alive and does not resize it.
std::optional<TensorView> view_of_buffer(nb::handle x, DType dtype) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(x.ptr(), &buffer, PyBUF_STRIDES) != 0) throw nb::python_error();
  const std::optional<TensorView> view = view_of(buffer, dtype);
  PyBuffer_Release(&buffer);
  return view;
}

// The same of a buffer of native f32 or f16, as its own format says; none for all others.
std::optional<TensorView> view_of_floats(nb::handle x) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(x.ptr(), &buffer, PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    PyErr_Clear();
    return std::nullopt;
  }
  const std::string_view format = buffer.format != nullptr ? buffer.format : "";
  std::optional<TensorView> view;
  if (format == "f") view = view_of(buffer, DType::f32);
  if (format == "e") view = view_of(buffer, DType::f16);
  PyBuffer_Release(&buffer);
  return view;
}

// The call on four buffers of f32 or f16; null where one is something else.
Call* call_of_buffers(nb::handle q, nb::handle k, nb::handle v, nb::handle out, Layout layout) {
  const auto of_q = view_of_floats(q), of_k = view_of_floats(k), of_v = view_of_floats(v), of_out = view_of_floats(out);
  if (!of_q || !of_k || !of_v || !of_out) return nullptr;
  return new Call(*of_q, *of_k, *of_v, *of_out, layout);
}

nb::tuple tuple_of(int rank, const std::array<std::int64_t, 4>& values) {
  nb::list list;
  for (int axis = 0; axis < rank; ++axis) list.append(values[static_cast<std::size_t>(axis)]);
  return nb::tuple(list);
}

// A tensor whose memory belongs to a DLPack producer, kept for as long as this object lives.
struct DlpackTensor {
  nb::ndarray<nb::ro> array;
  std::optional<DType> dtype;  // none: an element type unknown to octavo (complex, vectors)
};

std::optional<DType> dtype_of(nb::dlpack::dtype type) {
  if (type.lanes != 1) return std::nullopt;
  const auto integer = [&](DType b8, DType b16, DType b32, DType b64) -> std::optional<DType> {
    return type.bits == 8 ? b8 : type.bits == 16 ? b16 : type.bits == 32 ? b32 : b64;
  };
  switch (static_cast<nb::dlpack::dtype_code>(type.code)) {
    case nb::dlpack::dtype_code::Int:
      return integer(DType::s8, DType::s16, DType::s32, DType::s64);
    case nb::dlpack::dtype_code::UInt:
      return integer(DType::u8, DType::u16, DType::u32, DType::u64);
    case nb::dlpack::dtype_code::Bool:
      return DType::boolean;
    case nb::dlpack::dtype_code::Bfloat:
      return DType::bf16;
    case nb::dlpack::dtype_code::Float:
      if (type.bits == 16) return DType::f16;
      if (type.bits == 32) return DType::f32;
      if (type.bits == 64) return DType::f64;
      return std::nullopt;
    case nb::dlpack::dtype_code::Float8_E4M3FN:
      return DType::e4m3;
    case nb::dlpack::dtype_code::Float8_E5M2:
      return DType::e5m2;
    default:
      return std::nullopt;
  }
}

// Memory of `owner` as a NumPy array; on a device as an object with DLPack. Formats without a NumPy type are returned
// as bytes; s4 has two codes per byte.
nb::object numpy_array(const TensorView& view, nb::handle owner) {
  if (!view.given()) return nb::none();
  nb::dlpack::dtype type = nb::dtype<std::uint8_t>();
  if (view.dtype == DType::f32) type = nb::dtype<float>();
  if (view.dtype == DType::s8) type = nb::dtype<std::int8_t>();
  const bool two_per_byte = view.dtype == DType::s4;
  std::array<std::size_t, 4> shape{};
  std::array<std::int64_t, 4> strides{};
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(view.rank); ++axis) {
    const bool innermost = axis + 1 == static_cast<std::size_t>(view.rank);
    const std::int64_t extent = two_per_byte && innermost ? (view.shape[axis] + 1) / 2 : view.shape[axis];
    shape[axis] = static_cast<std::size_t>(extent);
    strides[axis] = two_per_byte && !innermost ? view.strides[axis] / 2 : view.strides[axis];
  }
  const auto rank = static_cast<std::size_t>(view.rank);
  if (view.device.type == DeviceType::cuda) {
    return nb::cast(nb::ndarray<>(view.data, rank, shape.data(), owner, strides.data(), type, nb::device::cuda::value,
                                  view.device.index));
  }
  return nb::cast(nb::ndarray<nb::numpy>(view.data, rank, shape.data(), owner, strides.data(), type));
}

// A dense result on a device, exported by DLPack.
struct DeviceArray {
  DeviceMemory memory;
  TensorView view;
};

DeviceArray make_device_array(int device, DType dtype, const nb::tuple& shape) {
  nb::list strides;
  std::int64_t stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    strides.insert(0, stride);
    stride *= nb::cast<std::int64_t>(shape[axis]);
  }
  DeviceArray array;
  array.memory =
      value(DeviceMemory::allocate(device_of(device), static_cast<std::size_t>(stride * bits_of(dtype) / 8)));
  array.view =
      make_view(reinterpret_cast<std::uintptr_t>(array.memory.data()), dtype, shape, nb::tuple(strides), device);
  return array;
}

nb::object dlpack_of(nb::handle self) {
  const TensorView& view = nb::cast<const DeviceArray&>(self).view;
  nb::dlpack::dtype type = nb::dtype<float>();
  if (view.dtype == DType::s8) {
    type = nb::dtype<std::int8_t>();
  } else if (view.dtype == DType::s64) {
    type = nb::dtype<std::int64_t>();
  } else if (view.dtype == DType::boolean) {
    type = nb::dtype<bool>();
  } else if (view.dtype != DType::f32) {
    const auto code = view.dtype == DType::bf16 ? nb::dlpack::dtype_code::Bfloat : nb::dlpack::dtype_code::Float;
    type = {static_cast<std::uint8_t>(code), 16, 1};
  }
  std::array<std::size_t, 4> shape{};
  for (std::size_t axis = 0; axis < 4; ++axis) shape[axis] = static_cast<std::size_t>(view.shape[axis]);
  return nb::cast(nb::ndarray<>(view.data, static_cast<std::size_t>(view.rank), shape.data(), self, view.strides.data(),
                                type, nb::device::cuda::value, view.device.index));
}

Execution execution_on(std::string_view implementation, std::uintptr_t stream) {
  Execution execution;
  execution.implementation = implementation;
  execution.stream = reinterpret_cast<void*>(stream);
  return execution;
}

void bind_tensors(nb::module_& m) {
  nb::enum_<DType> dtypes(m, "DType");
  for (int i = 0; i <= static_cast<int>(DType::boolean); ++i) {
    const auto dtype = static_cast<DType>(i);
    dtypes.value(std::string(to_string(dtype)).c_str(), dtype);
  }
  nb::enum_<Layout>(m, "Layout").value("NHD", Layout::nhd).value("HND", Layout::hnd);
  nb::enum_<Role>(m, "Role").value("q", Role::q).value("k", Role::k).value("v", Role::v);
  nb::enum_<Causal>(m, "Causal")
      .value("none", Causal::none)
      .value("bottom_right", Causal::bottom_right)
      .value("top_left", Causal::top_left);
  nb::enum_<Alibi>(m, "Alibi").value("causal", Alibi::causal).value("symmetric", Alibi::symmetric);

  nb::class_<TensorView>(m, "TensorView")
      .def(
          "__init__",
          [](TensorView* self, std::uintptr_t data, DType dtype, const nb::tuple& shape, const nb::tuple& strides,
             int device) { new (self) TensorView(make_view(data, dtype, shape, strides, device)); },
          "data"_a, "dtype"_a, "shape"_a, "strides"_a, "device"_a = kHost)
      .def_prop_ro("device", [](const TensorView& view) { return number_of(view.device); })
      .def_ro("dtype", &TensorView::dtype)
      .def_prop_ro("data", [](const TensorView& view) { return reinterpret_cast<std::uintptr_t>(view.data); })
      .def_prop_ro("shape", [](const TensorView& view) { return tuple_of(view.rank, view.shape); })
      .def_prop_ro("strides", [](const TensorView& view) { return tuple_of(view.rank, view.strides); });

  m.def("view_of_buffer", &view_of_buffer, "x"_a, "dtype"_a);

  nb::class_<DlpackTensor>(m, "DlpackTensor")
      .def_ro("dtype", &DlpackTensor::dtype)
      .def_prop_ro("data", [](const DlpackTensor& t) { return reinterpret_cast<std::uintptr_t>(t.array.data()); })
      .def_prop_ro("shape",
                   [](const DlpackTensor& t) {
                     nb::list shape;
                     for (std::size_t axis = 0; axis < t.array.ndim(); ++axis) shape.append(t.array.shape(axis));
                     return nb::tuple(shape);
                   })
      .def_prop_ro("strides", [](const DlpackTensor& t) {
        nb::list strides;
        for (std::size_t axis = 0; axis < t.array.ndim(); ++axis) strides.append(t.array.stride(axis));
        return nb::tuple(strides);
      });
  m.def(
      "from_dlpack",
      [](nb::ndarray<nb::ro> array) {
        const auto dtype = dtype_of(array.dtype());
        return DlpackTensor{std::move(array), dtype};
      },
      nb::arg("x").noconvert());
}

void bind_recipes(nb::module_& m) {
  nb::class_<Recipe>(m, "Recipe")
      .def(nb::init<>())
      .def(nb::init<const Recipe&>())
      .def("same", [](const Recipe& a, const Recipe& b) { return a == b; });
  m.def("parse_recipe", [](std::string_view text) { return value(parse_recipe(text)); });
  m.def("recipe_text", [](const Recipe& recipe) { return to_string(recipe); });
  m.def("recipe_fields", [] { return recipe_fields(); });
  m.def("recipe_field",
        [](const Recipe& recipe, std::string_view field) { return value(recipe_field(recipe, field)); });
  m.def("set_recipe_field", [](Recipe& recipe, std::string_view field, std::string_view text) {
    check(set_recipe_field(recipe, field, text));
  });
  m.def("check_recipe", [](const Recipe& recipe) { check(check_recipe(recipe)); });
  m.def("recipes", [] {
    std::vector<std::tuple<std::string_view, std::string_view>> list;
    for (const RecipeInfo& info : recipes()) list.emplace_back(info.name, info.summary);
    return list;
  });
}

void bind_quantization(nb::module_& m) {
  nb::class_<QuantizedView>(m, "QuantizedView")
      .def(
          "__init__",
          [](QuantizedView* self, const TensorView& codes, const TensorView* scales, const TensorView* mean, Role role,
             Layout layout, bool rotated, const Recipe& recipe, const TensorView* cu_seqlens) {
            const auto optional = [](const TensorView* given) { return given != nullptr ? *given : TensorView{}; };
            new (self) QuantizedView{codes,  optional(scales), optional(mean), role,
                                     layout, rotated,          recipe,         optional(cu_seqlens)};
          },
          "codes"_a, "scales"_a.none(), "mean"_a.none(), "role"_a, "layout"_a, "rotated"_a, "recipe"_a,
          "cu_seqlens"_a.none());
  nb::class_<QuantizedTensor>(m, "QuantizedTensor")
      .def_prop_ro(
          "codes",
          [](nb::handle self) { return numpy_array(nb::cast<const QuantizedTensor&>(self).view().codes, self); })
      .def_prop_ro(
          "scales",
          [](nb::handle self) { return numpy_array(nb::cast<const QuantizedTensor&>(self).view().scales, self); })
      .def_prop_ro(
          "mean", [](nb::handle self) { return numpy_array(nb::cast<const QuantizedTensor&>(self).view().mean, self); })
      .def_prop_ro("dtype", [](const QuantizedTensor& t) { return t.view().codes.dtype; })
      .def_prop_ro("device", [](const QuantizedTensor& t) { return number_of(t.view().codes.device); })
      .def_prop_ro("rotated", [](const QuantizedTensor& t) { return t.view().rotated; });
  m.def(
      "quantize",
      [](const TensorView& x, Role role, const Recipe& recipe, Layout layout, std::string_view implementation,
         const TensorView* cu_seqlens, const TensorView* kv_lens, const TensorView* key_mask, std::uintptr_t stream) {
        const auto optional = [](const TensorView* given) { return given != nullptr ? *given : TensorView{}; };
        return value(quantize(x, role, recipe, layout, execution_on(implementation, stream), optional(cu_seqlens),
                              optional(kv_lens), optional(key_mask)));
      },
      nb::call_guard<nb::gil_scoped_release>(), "x"_a, "role"_a, "recipe"_a, "layout"_a, "implementation"_a,
      "cu_seqlens"_a.none(), "kv_lens"_a.none(), "key_mask"_a.none(), "stream"_a = 0);
  m.def(
      "dequantize",
      [](const QuantizedView& x, const TensorView& out, std::string_view implementation, std::uintptr_t stream) {
        check(dequantize(x, out, execution_on(implementation, stream)));
      },
      nb::call_guard<nb::gil_scoped_release>(), "x"_a, "out"_a, "implementation"_a, "stream"_a = 0);
}

void bind_calls(nb::module_& m) {
  nb::class_<Call> calls(m, "Call");
  calls.def(nb::init<nb::handle, nb::handle, nb::handle, const TensorView&, Layout>(), "q"_a, "k"_a, "v"_a, "out"_a,
            "layout"_a);
  m.def("call_of_buffers", &call_of_buffers, "q"_a, "k"_a, "v"_a, "out"_a, "layout"_a, nb::rv_policy::take_ownership);
  const auto tensor = [&calls](const char* name, TensorView AttentionInputs::* member) {
    calls.def_prop_rw(
        name, [member](const Call& c) { return c.inputs.*member; },
        [member](Call& c, const TensorView& view) { c.inputs.*member = view; });
  };
  tensor("lse", &AttentionInputs::lse);
  tensor("mask", &AttentionInputs::mask);
  tensor("key_mask", &AttentionInputs::key_mask);
  tensor("alibi_slopes", &AttentionInputs::alibi_slopes);
  tensor("sinks", &AttentionInputs::sinks);
  tensor("kv_lens", &AttentionInputs::kv_lens);
  tensor("cu_seqlens_q", &AttentionInputs::cu_seqlens_q);
  tensor("cu_seqlens_k", &AttentionInputs::cu_seqlens_k);
  const auto parameter = [&calls]<class T>(const char* name, T AttentionParams::* member) {
    calls.def_prop_rw(
        name, [member](const Call& c) { return c.params.*member; },
        [member](Call& c, const T& value) { c.params.*member = value; });
  };
  parameter("recipe", &AttentionParams::recipe);
  parameter("scale", &AttentionParams::softmax_scale);
  parameter("causal", &AttentionParams::causal);
  parameter("softcap", &AttentionParams::softcap);
  parameter("alibi", &AttentionParams::alibi);
  calls.def_prop_rw(
      "window", [](const Call& c) { return std::tuple(c.params.window_left, c.params.window_right); },
      [](Call& c, std::tuple<std::int64_t, std::int64_t> window) {
        std::tie(c.params.window_left, c.params.window_right) = window;
      });
  calls.def_prop_rw("implementation", [](const Call& c) { return c.implementation; }, &Call::set_implementation);
  calls.def_prop_rw(
      "stream", [](const Call& c) { return reinterpret_cast<std::uintptr_t>(c.execution.stream); },
      [](Call& c, std::uintptr_t stream) { c.execution.stream = reinterpret_cast<void*>(stream); });
  calls.def("set_workspace", &Call::set_workspace, "bytes"_a);
  m.def(
      "attention", [](const Call& call) { check(attention(call.inputs, call.params, call.execution)); },
      nb::call_guard<nb::gil_scoped_release>(), "call"_a);
  m.def(
      "workspace_size",
      [](const Call& call) { return value(workspace_size(call.inputs, call.params, call.execution)); }, "call"_a);
  m.def(
      "merge_state",
      [](const TensorView& o_a, const TensorView& lse_a, const TensorView& o_b, const TensorView& lse_b,
         const TensorView& out, const TensorView& lse, Layout layout, std::string_view implementation,
         std::uintptr_t stream) {
        check(merge_state(o_a, lse_a, o_b, lse_b, out, lse, layout, execution_on(implementation, stream)));
      },
      nb::call_guard<nb::gil_scoped_release>(), "o_a"_a, "lse_a"_a, "o_b"_a, "lse_b"_a, "out"_a, "lse"_a, "layout"_a,
      "implementation"_a, "stream"_a = 0);
}

void bind_devices(nb::module_& m) {
  nb::class_<DeviceArray>(m, "DeviceArray")
      .def_prop_ro("view", [](const DeviceArray& array) { return array.view; })
      .def("dlpack", &dlpack_of);
  m.def("device_array", &make_device_array, "device"_a, "dtype"_a, "shape"_a);
  m.def(
      "synchronize",
      [](int device, std::uintptr_t stream) { check(synchronize(device_of(device), reinterpret_cast<void*>(stream))); },
      nb::call_guard<nb::gil_scoped_release>(), "device"_a, "stream"_a = 0);
  m.def("devices", [] {
    std::vector<std::tuple<int, std::string, std::string, std::size_t, int>> list;
    for (const DeviceInfo& info : value(devices())) {
      list.emplace_back(info.device.index, info.name, info.compute_capability, info.memory_bytes, info.multiprocessors);
    }
    return list;
  });
  m.def("no_devices", [] { return devices().status().message(); });
}

void bind_runtime(nb::module_& m) {
  m.def("version", &version);
  m.def("set_num_threads", &set_num_threads, "n"_a);
  m.def("requested_num_threads", &requested_num_threads);
  m.def("num_threads", &num_threads);
  m.attr("max_threads") = kMaxThreads;
  m.def("processor_features", &processor_features);
  m.def("active_implementation", [] { return value(active_implementation()); });
  m.def("last_implementation", &last_implementation);
  m.def("implementations", [] {
    std::vector<std::tuple<std::string, std::string, bool, std::string, std::string>> list;
    for (const ImplementationInfo& i : implementations()) {
      list.emplace_back(std::string(i.name), std::string(i.description), i.supported, i.reason,
                        i.device == DeviceType::cuda ? "cuda" : "cpu");
    }
    return list;
  });
}

}  // namespace
}  // namespace octavo::python

NB_MODULE(_core, m) {
  using namespace octavo::python;
  // torch's operator registry keeps functions of octavo.torch, and what they refer to, until the process ends.
  nb::set_leak_warnings(false);
  nb::register_exception_translator(
      [](const std::exception_ptr& pointer, void*) {
        try {
          std::rethrow_exception(pointer);
        } catch (const StatusError& error) {
          PyErr_SetString(error.type(), error.what());
        }
      },
      nullptr);
  bind_tensors(m);
  bind_recipes(m);
  bind_quantization(m);
  bind_calls(m);
  bind_trace(m);
  bind_kv_cache(m);
  bind_devices(m);
  bind_runtime(m);
}
