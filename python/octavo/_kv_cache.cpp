// Binding of octavo/kv_cache.hpp.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "_call.hpp"
#include "octavo/kv_cache.hpp"

namespace octavo::python {

using namespace nb::literals;

namespace {

using Integers = std::vector<std::int64_t>;

// The arguments of attend(). Python sets the ones that differ from their defaults. Views only: the caller keeps the
// arrays alive.
struct CacheCall {
  CacheQuery query;
  CacheAttentionParams params;
  Execution execution;
  Integers sequences;
  std::string implementation;

  CacheCall(const TensorView& q, const TensorView& out, Layout layout) {
    query.q = q;
    query.out = out;
    query.layout = layout;
  }
  CacheCall(const CacheCall&) = delete;  // the query points into the object itself
  CacheCall& operator=(const CacheCall&) = delete;

  void set_sequences(Integers values) {
    sequences = std::move(values);
    query.sequences = sequences;
  }
  void set_implementation(std::string_view name) {
    implementation = name;
    execution.implementation = implementation;
  }
};

Device place_of(int device) { return device < 0 ? Device{} : Device{DeviceType::cuda, device}; }

KVCacheOptions options_of(std::int64_t batch, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t value_head_dim,
                          std::int64_t capacity, DType format, bool kept_keys, std::int64_t page_size,
                          std::int64_t pages, int device) {
  return {.batch = batch,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .value_head_dim = value_head_dim,
          .capacity = capacity,
          .format = format,
          .kept_keys = kept_keys,
          .page_size = page_size,
          .pages = pages,
          .device = place_of(device)};
}

void bind_cache_call(nb::module_& m) {
  nb::class_<CacheCall> calls(m, "CacheCall");
  calls.def(nb::init<const TensorView&, const TensorView&, Layout>(), "q"_a, "out"_a, "layout"_a);
  const auto tensor = [&calls](const char* name, TensorView CacheQuery::* member) {
    calls.def_prop_rw(
        name, [member](const CacheCall& c) { return c.query.*member; },
        [member](CacheCall& c, const TensorView& view) { c.query.*member = view; });
  };
  tensor("lse", &CacheQuery::lse);
  tensor("sinks", &CacheQuery::sinks);
  tensor("mask", &CacheQuery::mask);
  tensor("key_mask", &CacheQuery::key_mask);
  tensor("tree_mask", &CacheQuery::tree_mask);
  tensor("alibi_slopes", &CacheQuery::alibi_slopes);
  tensor("cu_seqlens_q", &CacheQuery::cu_seqlens_q);
  const auto parameter = [&calls]<class T>(const char* name, T CacheAttentionParams::* member) {
    calls.def_prop_rw(
        name, [member](const CacheCall& c) { return c.params.*member; },
        [member](CacheCall& c, const T& value) { c.params.*member = value; });
  };
  parameter("scale", &CacheAttentionParams::softmax_scale);
  parameter("causal", &CacheAttentionParams::causal);
  parameter("softcap", &CacheAttentionParams::softcap);
  parameter("alibi", &CacheAttentionParams::alibi);
  calls.def_prop_rw(
      "window", [](const CacheCall& c) { return std::tuple(c.params.window_left, c.params.window_right); },
      [](CacheCall& c, std::tuple<std::int64_t, std::int64_t> window) {
        std::tie(c.params.window_left, c.params.window_right) = window;
      });
  calls.def_prop_rw("sequences", [](const CacheCall& c) { return c.sequences; }, &CacheCall::set_sequences);
  calls.def_prop_rw(
      "implementation", [](const CacheCall& c) { return c.implementation; }, &CacheCall::set_implementation);
  calls.def_prop_rw(
      "stream", [](const CacheCall& c) { return reinterpret_cast<std::uintptr_t>(c.execution.stream); },
      [](CacheCall& c, std::uintptr_t stream) { c.execution.stream = reinterpret_cast<void*>(stream); });
  calls.def(
      "set_workspace",
      [](CacheCall& c, const TensorView& bytes) {
        c.execution.workspace = bytes.data;
        c.execution.workspace_bytes = static_cast<std::size_t>(bytes.elements());
      },
      "bytes"_a);
}

}  // namespace

void bind_kv_cache(nb::module_& m) {
  bind_cache_call(m);
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
            Execution execution;
            execution.implementation = implementation;
            execution.stream = reinterpret_cast<void*>(stream);
            check(cache.append(k, v, layout, sequences, counts, execution));
          },
          released, "k"_a, "v"_a, "layout"_a, "sequences"_a, "counts"_a, "implementation"_a, "stream"_a)
      .def(
          "attend",
          [](const KVCache& cache, const CacheCall& call) {
            check(cache.attend(call.query, call.params, call.execution));
          },
          released, "call"_a)
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
      [](const nb::bytes& bytes, int device) {
        return value(KVCache::load({static_cast<const std::byte*>(bytes.data()), bytes.size()}, place_of(device)));
      },
      "bytes"_a, "device"_a);
}

}  // namespace octavo::python
