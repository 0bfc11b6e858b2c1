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

Execution execution_of(std::string_view implementation, std::uintptr_t stream, const TensorView* workspace) {
  Execution execution;
  execution.implementation = implementation;
  execution.stream = reinterpret_cast<void*>(stream);
  if (workspace != nullptr) {
    execution.workspace = workspace->data;
    execution.workspace_bytes = static_cast<std::size_t>(workspace->elements());
  }
  return execution;
}
TensorView optional(const TensorView* view) { return view != nullptr ? *view : TensorView{}; }

KVCacheOptions options_of(std::int64_t batch, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t value_head_dim,
                          std::int64_t capacity, DType format, bool kept_keys, std::int64_t page_size,
                          std::int64_t pages, int device) {
  const Device place = device < 0 ? Device{} : Device{DeviceType::cuda, device};
  return {.batch = batch,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .value_head_dim = value_head_dim,
          .capacity = capacity,
          .format = format,
          .kept_keys = kept_keys,
          .page_size = page_size,
          .pages = pages,
          .device = place};
}

void attend(const KVCache& cache, const TensorView& q, const TensorView& out, const TensorView* lse,
            const TensorView* sinks, const TensorView* mask, const TensorView* key_mask, const TensorView* tree_mask,
            const TensorView* alibi_slopes, const TensorView* cu_seqlens_q, Layout layout, const Integers& sequences,
            double scale, bool causal, std::tuple<std::int64_t, std::int64_t> window, double softcap, Alibi alibi,
            std::string_view implementation, std::uintptr_t stream, const TensorView* workspace) {
  CacheQuery query;
  query.q = q;
  query.out = out;
  query.lse = optional(lse);
  query.sinks = optional(sinks);
  query.mask = optional(mask);
  query.key_mask = optional(key_mask);
  query.tree_mask = optional(tree_mask);
  query.alibi_slopes = optional(alibi_slopes);
  query.cu_seqlens_q = optional(cu_seqlens_q);
  query.layout = layout;
  query.sequences = sequences;
  CacheAttentionParams params;
  params.softmax_scale = scale;
  params.causal = causal;
  std::tie(params.window_left, params.window_right) = window;
  params.softcap = softcap;
  params.alibi = alibi;
  check(cache.attend(query, params, execution_of(implementation, stream, workspace)));
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
      .def_prop_ro("device",
                   [](const KVCache& cache) {
                     const Device device = cache.options().device;
                     return device.type == DeviceType::cuda ? device.index : -1;
                   })
      .def("length", &KVCache::length, "sequence"_a)
      .def(
          "append",
          [](KVCache& cache, const TensorView& k, const TensorView& v, Layout layout, const Integers& sequences,
             const Integers& counts, std::string_view implementation, std::uintptr_t stream) {
            check(cache.append(k, v, layout, sequences, counts, execution_of(implementation, stream, nullptr)));
          },
          released, "k"_a, "v"_a, "layout"_a, "sequences"_a, "counts"_a, "implementation"_a, "stream"_a)
      .def("attend", &attend, released, "q"_a, "out"_a, "lse"_a.none(), "sinks"_a.none(), "mask"_a.none(),
           "key_mask"_a.none(), "tree_mask"_a.none(), "alibi_slopes"_a.none(), "cu_seqlens_q"_a.none(), "layout"_a,
           "sequences"_a, "scale"_a, "causal"_a, "window"_a, "softcap"_a, "alibi"_a, "implementation"_a, "stream"_a,
           "workspace"_a.none())
      .def("advance", [](KVCache& cache, std::int64_t tokens,
                         const Integers& sequences) { check(cache.advance(tokens, sequences)); })
      .def("set_block_table",
           [](KVCache& cache, std::int64_t sequence, const std::vector<std::int32_t>& pages) {
             check(cache.set_block_table(sequence, pages));
           })
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
  nb::class_<KVCacheOptions>(m, "KVCacheOptions")
      .def(
          "__init__",
          [](KVCacheOptions* self, std::int64_t batch, std::int64_t kv_heads, std::int64_t head_dim,
             std::int64_t value_head_dim, std::int64_t capacity, DType format, bool kept_keys, std::int64_t page_size,
             std::int64_t pages, int device) {
            new (self) KVCacheOptions(options_of(batch, kv_heads, head_dim, value_head_dim, capacity, format, kept_keys,
                                                 page_size, pages, device));
          },
          "batch"_a, "kv_heads"_a, "head_dim"_a, "value_head_dim"_a, "capacity"_a, "format"_a, "kept_keys"_a,
          "page_size"_a, "pages"_a, "device"_a)
      .def("set_pool",
           [](KVCacheOptions& options, const TensorView& pool) {
             options.pool = {static_cast<std::byte*>(pool.data), static_cast<std::size_t>(pool.elements())};
           })
      .def("pool_size", [](const KVCacheOptions& options) { return value(KVCache::pool_size(options)); });
  m.def("make_kv_cache", [](const KVCacheOptions& options) { return value(KVCache::create(options)); }, "options"_a);
  m.def(
      "load_kv_cache",
      [](const nb::bytes& bytes) {
        return value(KVCache::load({static_cast<const std::byte*>(bytes.data()), bytes.size()}));
      },
      "bytes"_a);
}

}  // namespace octavo::python
