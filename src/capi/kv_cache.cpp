// octavo_kv_cache_t: a KVCache behind a handle.
#include "octavo/kv_cache.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "capi/convert.hpp"
#include "capi/error.hpp"
#include "capi/sized_struct.hpp"

using octavo::CacheAttentionParams;
using octavo::CacheQuery;
using octavo::KVCache;
using octavo::KVCacheOptions;
using octavo::Layout;
using octavo::Result;
using octavo::Status;
using octavo::TensorView;
namespace capi = octavo::capi;

struct octavo_kv_cache_t {
  KVCache cache;
};

namespace {

using Integers = std::span<const std::int64_t>;

// Null stands for "not given", an empty span; a list without entries is not the same and is refused.
Status read_integers(const std::int64_t* from, std::size_t count, const capi::ArgumentName& name, Integers& to) {
  if (from == nullptr) return {};
  if (count == 0) return octavo::invalid_argument(name, " has no entries; give at least one, or NULL");
  to = {from, count};
  return {};
}

Status read_options(const octavo_kv_cache_options_t* from, KVCacheOptions& to) {
  if (Status status = capi::check_given(from, "options"); !status.ok()) return status;
  octavo_kv_cache_options_t options = OCTAVO_KV_CACHE_OPTIONS_INIT;
  Status status = capi::read_struct(from, "options", "octavo_kv_cache_options_t", options);
  if (!status.ok()) return status;
  if (status = capi::check_enumerator("options.kept_keys", options.kept_keys, 1); !status.ok()) return status;
  to.batch = options.batch;
  to.kv_heads = options.kv_heads;
  to.head_dim = options.head_dim;
  to.value_head_dim = options.value_head_dim;
  to.capacity = options.capacity;
  to.kept_keys = options.kept_keys != 0;
  to.page_size = options.page_size;
  to.pages = options.pages;
  if ((options.pool == nullptr) != (options.pool_bytes == 0)) {
    return octavo::invalid_argument("options.pool is ", options.pool == nullptr ? "null" : "given",
                                    " and options.pool_bytes is ", options.pool_bytes, "; give both or neither");
  }
  to.pool = {static_cast<std::byte*>(options.pool), options.pool_bytes};
  to.device.index = options.device_index;
  status = capi::read_enumerator("options.device_type", options.device_type, octavo::DeviceType::cuda, to.device.type);
  if (!status.ok()) return status;
  return capi::read_enumerator("options.format", options.format, octavo::DType::boolean, to.format);
}

Status read_query(const octavo_kv_cache_query_t* from, CacheQuery& to) {
  if (Status status = capi::check_given(from, "query"); !status.ok()) return status;
  octavo_kv_cache_query_t query = OCTAVO_KV_CACHE_QUERY_INIT;
  Status status = capi::read_struct(from, "query", "octavo_kv_cache_query_t", query);
  if (!status.ok()) return status;
  if (status = capi::check_reserved("query", query.reserved); !status.ok()) return status;
  if (status = capi::read_tensor(query.q, "q", to.q); !status.ok()) return status;
  if (status = capi::read_tensor(query.out, "out", to.out); !status.ok()) return status;
  if (status = capi::read_tensor(query.lse, "lse", to.lse); !status.ok()) return status;
  if (status = capi::read_tensor(query.sinks, "sinks", to.sinks); !status.ok()) return status;
  if (status = capi::read_tensor(query.cu_seqlens_q, "cu_seqlens_q", to.cu_seqlens_q); !status.ok()) return status;
  if (status = capi::read_tensor(query.mask, "mask", to.mask); !status.ok()) return status;
  if (status = capi::read_tensor(query.key_mask, "key_mask", to.key_mask); !status.ok()) return status;
  if (status = capi::read_tensor(query.tree_mask, "tree_mask", to.tree_mask); !status.ok()) return status;
  if (status = capi::read_tensor(query.alibi_slopes, "alibi_slopes", to.alibi_slopes); !status.ok()) return status;
  status = read_integers(query.sequences, query.num_sequences, "query.sequences", to.sequences);
  if (!status.ok()) return status;
  return capi::read_enumerator("query.layout", query.layout, Layout::hnd, to.layout);
}

Status read_params(const octavo_kv_cache_params_t* from, CacheAttentionParams& to) {
  if (from == nullptr) return {};
  octavo_kv_cache_params_t params = OCTAVO_KV_CACHE_PARAMS_INIT;
  Status status = capi::read_struct(from, "params", "octavo_kv_cache_params_t", params);
  if (!status.ok()) return status;
  if (status = capi::read_enumerator("params.alibi", params.alibi, octavo::Alibi::symmetric, to.alibi); !status.ok()) {
    return status;
  }
  if (status = capi::check_enumerator("params.causal", params.causal, 1); !status.ok()) return status;
  to.softmax_scale = params.softmax_scale;
  to.window_left = params.window_left;
  to.window_right = params.window_right;
  to.softcap = params.softcap;
  to.causal = params.causal != 0;
  return {};
}

// Where the contents of a sequence go.
struct Contents {
  TensorView codes, scales, mean;
};
Status read_contents(const octavo_kv_cache_t* cache, const octavo_tensor_t* codes, const octavo_tensor_t* scales,
                     const octavo_tensor_t* mean, Contents& to) {
  if (Status status = capi::check_given(cache, "cache"); !status.ok()) return status;
  if (Status status = capi::check_given(codes, "codes"); !status.ok()) return status;
  if (Status status = capi::read_tensor(codes, "codes", to.codes); !status.ok()) return status;
  if (Status status = capi::read_tensor(scales, "scales", to.scales); !status.ok()) return status;
  return capi::read_tensor(mean, "mean", to.mean);
}

Status hand_out(Result<KVCache> made, octavo_kv_cache_t** result) {
  if (!made.ok()) return made.status();
  *result = std::make_unique<octavo_kv_cache_t>(*std::move(made)).release();
  return {};
}

// change(KVCache&) -> Status, on a cache that is given.
template <class Change>
octavo_status_t with(octavo_kv_cache_t* cache, Change&& change) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(cache, "cache"); !status.ok()) return status;
    return change(cache->cache);
  });
}

}  // namespace

octavo_status_t octavo_kv_cache_create(const octavo_kv_cache_options_t* options, octavo_kv_cache_t** result) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(result, "result"); !status.ok()) return status;
    *result = nullptr;
    KVCacheOptions read;
    if (Status status = read_options(options, read); !status.ok()) return status;
    return hand_out(KVCache::create(read), result);
  });
}

void octavo_kv_cache_free(octavo_kv_cache_t* cache) { delete cache; }

int64_t octavo_kv_cache_length(const octavo_kv_cache_t* cache, int64_t sequence) {
  return cache == nullptr ? -1 : cache->cache.length(sequence);
}
size_t octavo_kv_cache_nbytes(const octavo_kv_cache_t* cache) { return cache == nullptr ? 0 : cache->cache.nbytes(); }
int64_t octavo_kv_cache_free_pages(const octavo_kv_cache_t* cache) {
  return cache == nullptr ? 0 : cache->cache.free_pages();
}

octavo_status_t octavo_kv_cache_append(octavo_kv_cache_t* cache, const octavo_tensor_t* k, const octavo_tensor_t* v,
                                       int32_t layout, const int64_t* sequences, const int64_t* counts, size_t num_rows,
                                       const octavo_execution_t* execution) {
  return with(cache, [&](KVCache& to) -> Status {
    if (Status status = capi::check_given(k, "k"); !status.ok()) return status;
    if (Status status = capi::check_given(v, "v"); !status.ok()) return status;
    TensorView keys, values;
    if (Status status = capi::read_tensor(k, "k", keys); !status.ok()) return status;
    if (Status status = capi::read_tensor(v, "v", values); !status.ok()) return status;
    Layout order = Layout::nhd;
    if (Status status = capi::read_enumerator("layout", layout, Layout::hnd, order); !status.ok()) return status;
    Integers which, lengths;
    if (Status status = read_integers(sequences, num_rows, "sequences", which); !status.ok()) return status;
    if (Status status = read_integers(counts, num_rows, "counts", lengths); !status.ok()) return status;
    capi::ExecutionArgument how;
    if (Status status = capi::read_execution(execution, how); !status.ok()) return status;
    return to.append(keys, values, order, which, lengths, how.execution);
  });
}

octavo_status_t octavo_kv_cache_attend(const octavo_kv_cache_t* cache, const octavo_kv_cache_query_t* query,
                                       const octavo_kv_cache_params_t* params, const octavo_execution_t* execution) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(cache, "cache"); !status.ok()) return status;
    CacheQuery rows;
    if (Status status = read_query(query, rows); !status.ok()) return status;
    CacheAttentionParams options;
    if (Status status = read_params(params, options); !status.ok()) return status;
    capi::ExecutionArgument how;
    if (Status status = capi::read_execution(execution, how); !status.ok()) return status;
    return cache->cache.attend(rows, options, how.execution);
  });
}

octavo_status_t octavo_kv_cache_read_k(const octavo_kv_cache_t* cache, int64_t sequence, const octavo_tensor_t* codes,
                                       const octavo_tensor_t* scales, const octavo_tensor_t* mean) {
  return capi::guarded([&]() -> Status {
    Contents to;
    if (Status status = read_contents(cache, codes, scales, mean, to); !status.ok()) return status;
    return cache->cache.read_k(sequence, to.codes, to.scales, to.mean);
  });
}

octavo_status_t octavo_kv_cache_read_v(const octavo_kv_cache_t* cache, int64_t sequence, const octavo_tensor_t* codes,
                                       const octavo_tensor_t* scales) {
  return capi::guarded([&]() -> Status {
    Contents to;
    if (Status status = read_contents(cache, codes, scales, nullptr, to); !status.ok()) return status;
    return cache->cache.read_v(sequence, to.codes, to.scales);
  });
}

octavo_status_t octavo_kv_cache_pool_size(const octavo_kv_cache_options_t* options, size_t* result) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(result, "result"); !status.ok()) return status;
    KVCacheOptions read;
    if (Status status = read_options(options, read); !status.ok()) return status;
    const Result<std::size_t> bytes = KVCache::pool_size(read);
    if (bytes.ok()) *result = *bytes;
    return bytes.status();
  });
}

octavo_status_t octavo_kv_cache_set_block_table(octavo_kv_cache_t* cache, int64_t sequence, const int32_t* pages,
                                                size_t num_pages) {
  return with(cache, [&](KVCache& of) -> Status {
    if (num_pages > 0) {
      if (Status status = capi::check_given(pages, "pages"); !status.ok()) return status;
    }
    return of.set_block_table(sequence, {pages, num_pages});
  });
}

octavo_status_t octavo_kv_cache_trim(octavo_kv_cache_t* cache, int64_t sequence, int64_t length) {
  return with(cache, [&](KVCache& of) { return of.trim(sequence, length); });
}

octavo_status_t octavo_kv_cache_evict(octavo_kv_cache_t* cache, int64_t sequence, int64_t keep_first,
                                      int64_t keep_last) {
  return with(cache, [&](KVCache& of) { return of.evict(sequence, keep_first, keep_last); });
}

octavo_status_t octavo_kv_cache_reset(octavo_kv_cache_t* cache, const int64_t* sequences, size_t num_sequences) {
  return with(cache, [&](KVCache& of) -> Status {
    Integers which;
    if (Status status = read_integers(sequences, num_sequences, "sequences", which); !status.ok()) return status;
    return of.reset(which);
  });
}

octavo_status_t octavo_kv_cache_advance(octavo_kv_cache_t* cache, int64_t tokens, const int64_t* sequences,
                                        size_t num_sequences) {
  return with(cache, [&](KVCache& of) -> Status {
    Integers which;
    if (Status status = read_integers(sequences, num_sequences, "sequences", which); !status.ok()) return status;
    return of.advance(tokens, which);
  });
}

octavo_status_t octavo_kv_cache_fork(octavo_kv_cache_t* cache, int64_t source, int64_t destination) {
  return with(cache, [&](KVCache& of) { return of.fork(source, destination); });
}

octavo_status_t octavo_kv_cache_reorder(octavo_kv_cache_t* cache, const int64_t* sources, size_t num_sources) {
  return with(cache, [&](KVCache& of) -> Status {
    if (Status status = capi::check_given(sources, "sources"); !status.ok()) return status;
    return of.reorder({sources, num_sources});
  });
}

size_t octavo_kv_cache_saved_size(const octavo_kv_cache_t* cache) {
  return cache == nullptr ? 0 : cache->cache.saved_size();
}

octavo_status_t octavo_kv_cache_save(const octavo_kv_cache_t* cache, void* bytes, size_t num_bytes) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(cache, "cache"); !status.ok()) return status;
    if (Status status = capi::check_given(bytes, "bytes"); !status.ok()) return status;
    return cache->cache.save({static_cast<std::byte*>(bytes), num_bytes});
  });
}

octavo_status_t octavo_kv_cache_load(const void* bytes, size_t num_bytes, octavo_kv_cache_t** result) {
  return octavo_kv_cache_load_on(bytes, num_bytes, OCTAVO_CPU, 0, result);
}

octavo_status_t octavo_kv_cache_load_on(const void* bytes, size_t num_bytes, int32_t device_type, int32_t device_index,
                                        octavo_kv_cache_t** result) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(result, "result"); !status.ok()) return status;
    *result = nullptr;
    if (Status status = capi::check_given(bytes, "bytes"); !status.ok()) return status;
    octavo::Device device;
    if (Status status = capi::read_enumerator("device_type", device_type, octavo::DeviceType::cuda, device.type);
        !status.ok()) {
      return status;
    }
    if (device.type != octavo::DeviceType::cpu) device.index = device_index;
    return hand_out(KVCache::load({static_cast<const std::byte*>(bytes), num_bytes}, device), result);
  });
}
