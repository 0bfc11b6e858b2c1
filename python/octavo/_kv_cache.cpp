// Binding of octavo/kv_cache.hpp.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <tuple>
#include <vector>

#include "_call.hpp"
#include "octavo/kv_cache.hpp"

namespace octavo::python {

using namespace nb::literals;

namespace {

using Integers = std::vector<std::int64_t>;

Execution execution_of(std::string_view implementation) {
  Execution execution;
  execution.implementation = implementation;
  return execution;
}
TensorView optional(const TensorView* view) { return view != nullptr ? *view : TensorView{}; }

KVCache make(std::int64_t batch, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t value_head_dim,
             std::int64_t capacity, DType format, bool kept_keys, std::int64_t page_size, std::int64_t pages) {
  return value(KVCache::create({.batch = batch,
                                .kv_heads = kv_heads,
                                .head_dim = head_dim,
                                .value_head_dim = value_head_dim,
                                .capacity = capacity,
                                .format = format,
                                .kept_keys = kept_keys,
                                .page_size = page_size,
                                .pages = pages}));
}

void attend(const KVCache& cache, const TensorView& q, const TensorView& out, const TensorView* lse,
            const TensorView* sinks, Layout layout, const Integers& sequences, double scale, bool causal,
            std::tuple<std::int64_t, std::int64_t> window, double softcap, std::string_view implementation) {
  CacheQuery query{q, out, optional(lse), optional(sinks), layout, sequences};
  CacheAttentionParams params;
  params.softmax_scale = scale;
  params.causal = causal;
  std::tie(params.window_left, params.window_right) = window;
  params.softcap = softcap;
  check(cache.attend(query, params, execution_of(implementation)));
}

}  // namespace

void bind_kv_cache(nb::module_& m) {
  const auto released = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<KVCache>(m, "KVCache")
      .def_prop_ro("nbytes", &KVCache::nbytes)
      .def_prop_ro("free_pages", &KVCache::free_pages)
      .def_prop_ro("batch", [](const KVCache& cache) { return cache.options().batch; })
      .def_prop_ro("kv_heads", [](const KVCache& cache) { return cache.options().kv_heads; })
      .def_prop_ro("head_dim", [](const KVCache& cache) { return cache.options().head_dim; })
      .def_prop_ro("capacity", [](const KVCache& cache) { return cache.options().capacity; })
      .def_prop_ro("format", [](const KVCache& cache) { return cache.options().format; })
      .def_prop_ro("kept_keys", [](const KVCache& cache) { return cache.options().kept_keys; })
      .def_prop_ro("page_size", [](const KVCache& cache) { return cache.options().page_size; })
      .def_prop_ro("value_head_dim", [](const KVCache& cache) { return cache.options().value_head_dim; })
      .def_prop_ro("pages", [](const KVCache& cache) { return cache.options().pages; })
      .def("length", &KVCache::length, "sequence"_a)
      .def(
          "append",
          [](KVCache& cache, const TensorView& k, const TensorView& v, Layout layout, const Integers& sequences,
             const Integers& counts, std::string_view implementation) {
            check(cache.append(k, v, layout, sequences, counts, execution_of(implementation)));
          },
          released, "k"_a, "v"_a, "layout"_a, "sequences"_a, "counts"_a, "implementation"_a)
      .def("attend", &attend, released, "q"_a, "out"_a, "lse"_a.none(), "sinks"_a.none(), "layout"_a, "sequences"_a,
           "scale"_a, "causal"_a, "window"_a, "softcap"_a, "implementation"_a)
      .def("trim",
           [](KVCache& cache, std::int64_t sequence, std::int64_t length) { check(cache.trim(sequence, length)); })
      .def("evict", [](KVCache& cache, std::int64_t sequence, std::int64_t keep_first,
                       std::int64_t keep_last) { check(cache.evict(sequence, keep_first, keep_last)); })
      .def("save",
           [](const KVCache& cache) {
             std::vector<std::byte> bytes(cache.saved_size());
             check(cache.save(bytes));
             return nb::bytes(bytes.data(), bytes.size());
           })
      .def("reset", [](KVCache& cache, const Integers& sequences) { check(cache.reset(sequences)); })
      .def("fork", [](KVCache& cache, std::int64_t from, std::int64_t to) { check(cache.fork(from, to)); })
      .def("reorder", [](KVCache& cache, const Integers& sources) { check(cache.reorder(sources)); });
  m.def("make_kv_cache", &make, "batch"_a, "kv_heads"_a, "head_dim"_a, "value_head_dim"_a, "capacity"_a, "format"_a,
        "kept_keys"_a, "page_size"_a, "pages"_a);
  m.def(
      "load_kv_cache",
      [](const nb::bytes& bytes) {
        return value(KVCache::load({static_cast<const std::byte*>(bytes.data()), bytes.size()}));
      },
      "bytes"_a);
}

}  // namespace octavo::python
