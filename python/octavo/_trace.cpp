// The oracle's trace as NumPy arrays: the only binding of something that is not in the public headers.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "_call.hpp"
#include "api/trace.hpp"

namespace octavo::python {
namespace {

using namespace nb::literals;

// A vector as a NumPy array that owns it.
nb::object numpy_array(std::vector<double> values, std::initializer_list<std::int64_t> extents) {
  auto owned = std::make_unique<std::vector<double>>(std::move(values));
  double* const data = owned->data();
  const nb::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<std::vector<double>*>(p); });
  owned.release();
  std::vector<std::size_t> shape;
  for (std::int64_t extent : extents) shape.push_back(static_cast<std::size_t>(extent));
  return nb::cast(nb::ndarray<nb::numpy, double>(data, shape.size(), shape.data(), owner));
}

nb::dict dict_of(reference::Trace trace) {
  const std::initializer_list<std::int64_t> pairs = {trace.batch, trace.heads, trace.rows, trace.keys};
  const std::initializer_list<std::int64_t> steps = {trace.batch, trace.heads, trace.rows, trace.blocks};
  nb::dict dict;
  dict["scores"] = numpy_array(std::move(trace.scores), pairs);
  dict["folded"] = numpy_array(std::move(trace.folded), pairs);
  dict["codes"] = numpy_array(std::move(trace.codes), pairs);
  dict["references"] = numpy_array(std::move(trace.references), steps);
  dict["maxima"] = numpy_array(std::move(trace.maxima), steps);
  dict["row_sums"] = numpy_array(std::move(trace.row_sums), steps);
  dict["log_sums"] = numpy_array(std::move(trace.log_sums), steps);
  return dict;
}

}  // namespace

void bind_trace(nb::module_& m) {
  m.def(
      "trace",
      [](const Call& call) {
        Result<reference::Trace> traced = [&] {
          const nb::gil_scoped_release released;
          return trace_attention(call.inputs, call.params);
        }();
        return dict_of(value(std::move(traced)));
      },
      "call"_a);
}

}  // namespace octavo::python
