// KVCache: checks of options and of calls, then pages by kv_cache/cache and rows by an implementation.
#include "octavo/kv_cache.hpp"

#include <cfloat>
#include <cmath>
#include <vector>

#include "api/byte_ranges.hpp"
#include "api/device_check.hpp"
#include "api/execution.hpp"
#include "api/kv_cache_options.hpp"
#include "api/selection.hpp"
#include "api/tensor_checks.hpp"
#include "core/guard.hpp"
#include "core/log.hpp"
#include "core/text.hpp"
#include "kv_cache/cache.hpp"

namespace octavo {
namespace {

using kv_cache::Cache;

}  // namespace

Status check_options(const KVCacheOptions& o) {
  const std::int64_t value_dim = o.value_head_dim == 0 ? o.head_dim : o.value_head_dim;
  const auto at_least_one = [](std::string_view name, std::int64_t value) -> Status {
    if (value >= 1) return {};
    return invalid_argument(name, " is ", value, "; it must be at least 1");
  };
  if (Status s = at_least_one("batch", o.batch); !s.ok()) return s;
  if (Status s = at_least_one("kv_heads", o.kv_heads); !s.ok()) return s;
  if (Status s = at_least_one("head_dim", o.head_dim); !s.ok()) return s;
  if (Status s = at_least_one("value_head_dim", value_dim); !s.ok()) return s;
  if (Status s = at_least_one("capacity", o.capacity); !s.ok()) return s;
  if (o.head_dim > kMostCacheDim || value_dim > kMostCacheDim) {
    return unimplemented("head_dim is ", o.head_dim, " and value_head_dim ", value_dim, "; a cache supports 1 to ",
                         kMostCacheDim);
  }
  switch (o.format) {
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::e4m3:
    case DType::s8:
    case DType::s4:
      break;
    default:
      return invalid_argument("format is ", to_string(o.format), "; allowed are f32, f16, bf16, e4m3, s8 and s4");
  }
  if (o.page_size < 0 || o.page_size % kCacheStrip != 0) {
    return invalid_argument("page_size is ", o.page_size, "; allowed are 0 (contiguous) and multiples of ",
                            kCacheStrip);
  }
  if (o.pages < 0 || (o.page_size == 0 && o.pages != 0)) {
    return invalid_argument("pages is ", o.pages, "; without page_size it must be 0, with one at least 0");
  }
  // Far beyond any memory, and small enough that no product of sizes overflows. Doubles: the products may be anything.
  constexpr double kMostElements = 0x1p44, kMostRows = 0x1p31;
  const auto number = [](std::int64_t x) { return static_cast<double>(x); };
  const double pages_of_sequence = o.page_size == 0 ? 1 : number(o.capacity) / number(o.page_size) + 1;
  const double tokens = o.pages != 0 ? number(o.pages) * number(o.page_size)
                                     : number(o.batch) * (number(o.capacity) + number(o.page_size) + 16);
  const double elements = tokens * number(o.kv_heads) * number(o.head_dim + value_dim + 24);
  if (elements > kMostElements || number(o.pages) > kMostRows || number(o.batch) * pages_of_sequence > kMostRows ||
      number(o.batch) * number(o.kv_heads) * number(kKeptSlots) > kMostRows) {
    return resource_exhausted("batch ", o.batch, ", kv_heads ", o.kv_heads, " and capacity ", o.capacity,
                              " need more memory than any machine has");
  }
  return {};
}

namespace {

// The sequences that a call names, or all of them; distinct.
Status sequences_of(const Cache& cache, std::span<const std::int64_t> given, std::int64_t rows, std::string_view tensor,
                    std::vector<std::int64_t>& sequences) {
  const std::int64_t batch = cache.options().batch;
  if (given.empty()) {
    if (rows != batch) {
      return invalid_argument(tensor, " has batch size ", rows, " and the cache ", batch,
                              " sequences; name the sequences, or give all of them");
    }
    for (std::int64_t b = 0; b < batch; ++b) sequences.push_back(b);
    return {};
  }
  if (static_cast<std::int64_t>(given.size()) != rows) {
    return invalid_argument(tensor, " has batch size ", rows, " and ", given.size(),
                            " sequences are named; there must be one for each");
  }
  std::vector<bool> named(static_cast<std::size_t>(batch), false);
  for (const std::int64_t sequence : given) {
    if (sequence < 0 || sequence >= batch) {
      return invalid_argument("sequence ", sequence, " is named; the cache has sequences 0 to ", batch - 1);
    }
    if (named[static_cast<std::size_t>(sequence)]) {
      return invalid_argument("sequence ", sequence, " is named twice; sequences of a call must be distinct");
    }
    named[static_cast<std::size_t>(sequence)] = true;
    sequences.push_back(sequence);
  }
  return {};
}

Status check_layout(Layout layout) {
  if (layout == Layout::nhd || layout == Layout::hnd) return {};
  return invalid_argument("layout is the unknown value ", static_cast<int>(layout), "; allowed are NHD and HND");
}

Status check_device(std::span<const NamedTensor> tensors) {
  Device device;
  if (Status status = check_devices(tensors, device); !status.ok()) return status;
  if (device.type == DeviceType::cpu) return {};
  return unimplemented("the tensors are on CUDA device ", device.index, "; a key-value cache supports the CPU only");
}

// A float tensor with 4 axes.
Status check_rows(std::string_view name, const TensorView& view, Layout layout, Axes& axes, ByteRange& range) {
  if (!view.given()) return invalid_argument(name, " is missing");
  if (Status status = check_view({name}, view, Pointers::needed, &range); !status.ok()) return status;
  if (Status status = check_operand_shape({name}, view, layout, false, axes); !status.ok()) return status;
  return check_float_dtype({name}, view);
}

Status append_rows(Cache& cache, const TensorView& k, const TensorView& v, Layout layout,
                   std::span<const std::int64_t> named, std::span<const std::int64_t> counts,
                   const Execution& execution) {
  const KVCacheOptions& options = cache.options();
  if (Status status = check_execution(execution); !status.ok()) return status;
  if (Status status = check_layout(layout); !status.ok()) return status;
  const NamedTensor tensors[] = {{{"k"}, &k}, {{"v"}, &v}};
  if (Status status = check_device(tensors); !status.ok()) return status;
  if (Status status = check_stream(execution, Device{}); !status.ok()) return status;
  Axes axes_k, axes_v;
  ByteRange range;
  if (Status status = check_rows("k", k, layout, axes_k, range); !status.ok()) return status;
  if (Status status = check_rows("v", v, layout, axes_v, range); !status.ok()) return status;
  if (k.dtype != v.dtype) {
    return invalid_argument("k is ", to_string(k.dtype), " and v is ", to_string(v.dtype), "; they must be equal");
  }
  const auto fits = [&](const Axes& axes, std::int64_t dim) {
    return axes.batch == axes_k.batch && axes.rows == axes_k.rows && axes.heads == options.kv_heads && axes.dim == dim;
  };
  const auto needed = [&](std::int64_t dim) {
    return shape_text(shape_of({axes_k.batch, options.kv_heads, axes_k.rows, dim}, layout, 4), 4);
  };
  if (!fits(axes_k, options.head_dim)) {
    return invalid_argument("k has shape ", shape_string(k), "; this cache takes ", needed(options.head_dim));
  }
  if (!fits(axes_v, options.value_head_dim)) {
    return invalid_argument("v has shape ", shape_string(v), "; beside this k it must be ",
                            needed(options.value_head_dim));
  }
  std::vector<std::int64_t> sequences;
  if (Status status = sequences_of(cache, named, axes_k.batch, "k", sequences); !status.ok()) return status;
  if (!counts.empty() && counts.size() != sequences.size()) {
    return invalid_argument("counts has ", counts.size(), " entries; it must have ", sequences.size(),
                            ", one for each sequence");
  }
  std::vector<CacheAppend> entries;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int64_t rows = counts.empty() ? axes_k.rows : counts[i];
    if (rows < 0 || rows > axes_k.rows) {
      return invalid_argument("counts[", i, "] is ", rows, "; allowed are 0 to ", axes_k.rows, ", the rows of k");
    }
    const std::int64_t length = cache.length(sequences[i]);
    if (rows > options.capacity - length) {
      return invalid_argument("sequence ", sequences[i], " has ", length, " tokens; ", rows,
                              " more exceed its capacity of ", options.capacity);
    }
    entries.push_back(cache.entry(sequences[i], rows));
    entries.back().fixes_mean = entries.back().fixes_mean && rows > 0;
  }
  const Result<const Implementation*> selected = select_cache_implementation(execution.implementation);
  if (!selected.ok()) return selected.status();
  const Implementation& implementation = **selected;
  if (Status status = cache.reserve(entries); !status.ok()) return status;
  CacheAppendProblem problem;
  problem.cache = cache.view();
  problem.k = operand_of(k, layout);
  problem.v = operand_of(v, layout);
  problem.entries = entries.data();
  problem.count = static_cast<std::int64_t>(entries.size());
  // Cannot fail: back ends were asked before. Pages that were reserved stay with their sequences.
  if (Status status = implementation.backend().append(implementation, problem, execution); !status.ok()) return status;
  cache.commit(entries);
  note_served_by(implementation);
  return {};
}

Status check_params(const CacheAttentionParams& params, const KVCacheOptions& options, CacheAttentionProblem& p) {
  p.softmax_scale =
      std::isnan(params.softmax_scale) ? 1.0 / std::sqrt(static_cast<double>(options.head_dim)) : params.softmax_scale;
  if (std::abs(p.softmax_scale) > FLT_MAX) {
    return invalid_argument("softmax_scale is ", params.softmax_scale, "; it must be finite (in f32)");
  }
  if (!(params.softcap == 0 || (params.softcap >= FLT_MIN && params.softcap <= FLT_MAX))) {
    return invalid_argument("softcap is ", params.softcap, "; allowed are 0 (off) and positive finite f32 values");
  }
  if (params.window_left < -1 || params.window_right < -1) {
    return invalid_argument("window is (", params.window_left, ", ", params.window_right,
                            "); allowed are -1 (unlimited) and values from 0 on");
  }
  p.softcap = params.softcap;
  p.causal = params.causal ? Causal::bottom_right : Causal::none;
  p.window_left = params.window_left;
  p.window_right = params.window_right;
  return {};
}

Status check_sinks(const TensorView& sinks, std::int64_t heads, CacheAttentionProblem& problem, ByteRanges& ranges) {
  if (!sinks.given()) return {};
  ByteRange range;
  if (Status status = check_view({"sinks"}, sinks, Pointers::needed, &range); !status.ok()) return status;
  if (sinks.dtype != DType::f32 && sinks.dtype != DType::f16 && sinks.dtype != DType::bf16 &&
      sinks.dtype != DType::f64) {
    return invalid_argument("sinks is ", to_string(sinks.dtype), "; allowed are f32, f16, bf16 and f64");
  }
  if (sinks.rank != 1 || sinks.shape[0] != heads) {
    return invalid_argument("sinks has shape ", shape_string(sinks), "; it must be [", heads, "], the query heads");
  }
  problem.sinks = {sinks.data, sinks.dtype, {0, sinks.strides[0], 0, 0}};
  ranges.reads({"sinks"}, range);
  return {};
}

Status check_outputs(const CacheQuery& query, const Axes& q, std::int64_t value_dim, CacheAttentionProblem& problem,
                     ByteRanges& ranges) {
  Axes axes;
  ByteRange range;
  if (Status status = check_rows("out", query.out, query.layout, axes, range); !status.ok()) return status;
  const std::array<std::int64_t, 4> shape = shape_of({q.batch, q.heads, q.rows, value_dim}, query.layout, 4);
  if (!has_shape(query.out, shape, 4)) {
    return invalid_argument("out has shape ", shape_string(query.out), "; the result has ", shape_text(shape, 4));
  }
  if (!elements_are_distinct(query.out)) {
    return invalid_argument("out has strides that let elements share memory; its axes must not overlap");
  }
  problem.out = operand_of(query.out, query.layout);
  ranges.writes({"out"}, range);
  const TensorView& lse = query.lse;
  if (!lse.given()) return {};
  if (Status status = check_view({"lse"}, lse, Pointers::needed, &range); !status.ok()) return status;
  const std::array<std::int64_t, 4> lse_shape{q.batch, q.heads, q.rows, 0};
  if (!has_shape(lse, lse_shape, 3)) {
    return invalid_argument("lse has shape ", shape_string(lse), "; it must be ", shape_text(lse_shape, 3),
                            ", [batch, heads, seqlen_q]");
  }
  if (lse.dtype != DType::f32) return invalid_argument("lse is ", to_string(lse.dtype), "; it must be f32");
  if (!elements_are_distinct(lse)) {
    return invalid_argument("lse has strides that let elements share memory; its axes must not overlap");
  }
  problem.lse = static_cast<float*>(data_or_placeholder(lse));
  problem.lse_strides = {lse.strides[0], lse.strides[1], lse.strides[2]};
  ranges.writes({"lse"}, range);
  return {};
}

Status attend_to(const Cache& cache, const CacheQuery& query, const CacheAttentionParams& params,
                 const Execution& execution) {
  const KVCacheOptions& options = cache.options();
  if (Status status = check_execution(execution); !status.ok()) return status;
  if (Status status = check_layout(query.layout); !status.ok()) return status;
  const NamedTensor tensors[] = {
      {{"q"}, &query.q}, {{"out"}, &query.out}, {{"lse"}, &query.lse}, {{"sinks"}, &query.sinks}};
  if (Status status = check_device(tensors); !status.ok()) return status;
  if (Status status = check_stream(execution, Device{}); !status.ok()) return status;
  CacheAttentionProblem problem;
  ByteRanges ranges;
  ranges.writes({"workspace"}, workspace_range(execution));
  Axes q;
  ByteRange range;
  if (Status status = check_rows("q", query.q, query.layout, q, range); !status.ok()) return status;
  ranges.reads({"q"}, range);
  if (q.heads % options.kv_heads != 0) {
    return invalid_argument("q has ", q.heads, " heads and the cache ", options.kv_heads,
                            "; q's must be a multiple of the cache's");
  }
  if (q.dim != options.head_dim) {
    return invalid_argument("q has head_dim ", q.dim, " and the cache ", options.head_dim, "; they must be equal");
  }
  if (Status status = check_params(params, options, problem); !status.ok()) return status;
  if (Status status = check_sinks(query.sinks, q.heads, problem, ranges); !status.ok()) return status;
  if (Status status = check_outputs(query, q, options.value_head_dim, problem, ranges); !status.ok()) return status;
  if (Status status = ranges.check(); !status.ok()) return status;
  std::vector<std::int64_t> sequences;
  if (Status status = sequences_of(cache, query.sequences, q.batch, "q", sequences); !status.ok()) return status;
  const Result<const Implementation*> selected = select_cache_implementation(execution.implementation);
  if (!selected.ok()) return selected.status();
  const Implementation& implementation = **selected;
  std::vector<CacheSequence> entries;
  for (const std::int64_t sequence : sequences) entries.push_back(cache.entry(sequence));
  problem.cache = cache.view();
  problem.entries = entries.data();
  problem.batch = q.batch;
  problem.q_heads = q.heads;
  problem.q_rows = q.rows;
  problem.q = operand_of(query.q, query.layout);
  if (problem.batch == 0 || problem.q_rows == 0) return {};
  CallReport report;
  if (Status status = implementation.backend().attention(implementation, problem, execution, report); !status.ok()) {
    return status;
  }
  note_served_by(implementation);
  if (log_enabled(LogLevel::dispatch)) {
    log_line(LogLevel::dispatch,
             text("attention over a ", to_string(options.format), " cache, batch ", q.batch, " heads ", q.heads, "/",
                  options.kv_heads, " seqlen_q ", q.rows, " -> ", implementation.name, ", ", report.threads,
                  " threads, ", report.workspace_bytes, " bytes of workspace"));
  }
  return {};
}

}  // namespace

KVCache::KVCache(std::unique_ptr<kv_cache::Cache> cache) noexcept : cache_(std::move(cache)) {}
KVCache::KVCache(KVCache&&) noexcept = default;
KVCache& KVCache::operator=(KVCache&&) noexcept = default;
KVCache::~KVCache() = default;

Result<KVCache> KVCache::create(const KVCacheOptions& options) noexcept {
  return guarded([&]() -> Result<KVCache> {
    if (Status status = check_options(options); !status.ok()) return status;
    Result<std::unique_ptr<Cache>> cache = Cache::create(options);
    if (!cache.ok()) return cache.status();
    return KVCache(*std::move(cache));
  });
}

const KVCacheOptions& KVCache::options() const noexcept { return cache_->options(); }
std::int64_t KVCache::length(std::int64_t sequence) const noexcept {
  return sequence < 0 || sequence >= options().batch ? -1 : cache_->length(sequence);
}
std::size_t KVCache::nbytes() const noexcept { return cache_->nbytes(); }
std::int64_t KVCache::free_pages() const noexcept { return cache_->free_pages(); }

Status KVCache::append(const TensorView& k, const TensorView& v, Layout layout, std::span<const std::int64_t> sequences,
                       std::span<const std::int64_t> counts, const Execution& execution) noexcept {
  return guarded([&] { return append_rows(*cache_, k, v, layout, sequences, counts, execution); });
}

Status KVCache::attend(const CacheQuery& query, const CacheAttentionParams& params,
                       const Execution& execution) const noexcept {
  return guarded([&] { return attend_to(*cache_, query, params, execution); });
}

namespace {

Status check_sequence(const KVCache& cache, std::int64_t sequence) {
  if (cache.length(sequence) >= 0) return {};
  return invalid_argument("sequence ", sequence, " is named; the cache has sequences 0 to ", cache.options().batch - 1);
}

}  // namespace

Status KVCache::trim(std::int64_t sequence, std::int64_t length) noexcept {
  return guarded([&]() -> Status {
    if (Status status = check_sequence(*this, sequence); !status.ok()) return status;
    const std::int64_t present = cache_->length(sequence);
    if (length < 0 || length > present) {
      return invalid_argument("length is ", length, "; sequence ", sequence, " has ", present, " tokens, and 0 to ",
                              present, " are allowed");
    }
    cache_->trim(sequence, length);
    return {};
  });
}

Status KVCache::evict(std::int64_t sequence, std::int64_t keep_first, std::int64_t keep_last) noexcept {
  return guarded([&]() -> Status {
    if (Status status = check_sequence(*this, sequence); !status.ok()) return status;
    if (keep_first < 0 || keep_last < 0) {
      return invalid_argument("keep_first is ", keep_first, " and keep_last ", keep_last, "; both must be at least 0");
    }
    return cache_->evict(sequence, keep_first, keep_last);
  });
}

Status KVCache::reset(std::span<const std::int64_t> sequences) noexcept {
  return guarded([&]() -> Status {
    for (const std::int64_t sequence : sequences) {
      if (Status status = check_sequence(*this, sequence); !status.ok()) return status;
    }
    for (const std::int64_t sequence : sequences) cache_->trim(sequence, 0);
    for (std::int64_t b = 0; sequences.empty() && b < options().batch; ++b) cache_->trim(b, 0);
    return {};
  });
}

Status KVCache::fork(std::int64_t from, std::int64_t to) noexcept {
  return guarded([&]() -> Status {
    if (Status status = check_sequence(*this, from); !status.ok()) return status;
    if (Status status = check_sequence(*this, to); !status.ok()) return status;
    cache_->fork(from, to);
    return {};
  });
}

Status KVCache::reorder(std::span<const std::int64_t> sources) noexcept {
  return guarded([&]() -> Status {
    if (static_cast<std::int64_t>(sources.size()) != options().batch) {
      return invalid_argument("sources has ", sources.size(), " entries; it must have ", options().batch,
                              ", one for each sequence");
    }
    for (const std::int64_t source : sources) {
      if (Status status = check_sequence(*this, source); !status.ok()) return status;
    }
    cache_->reorder(sources);
    return {};
  });
}

}  // namespace octavo
