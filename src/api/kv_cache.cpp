// KVCache: checks of options and of calls, then pages by kv_cache/cache and rows by an implementation.
#include "octavo/kv_cache.hpp"

#include <optional>
#include <vector>

#include "api/byte_ranges.hpp"
#include "api/device_check.hpp"
#include "api/execution.hpp"
#include "api/kv_cache_checks.hpp"
#include "api/kv_cache_device.hpp"
#include "api/kv_cache_options.hpp"
#include "api/selection.hpp"
#include "api/tensor_checks.hpp"
#include "core/guard.hpp"
#include "core/text.hpp"
#include "cuda/host/cuda.hpp"
#include "kv_cache/cache.hpp"

namespace octavo {

using kv_cache::Cache;

namespace {

Status check_pool(const KVCacheOptions& o) {
  if (o.pool.empty()) return {};
  if (o.page_size == 0 || o.pages == 0) {
    return invalid_argument("a pool is given, page_size is ", o.page_size, " and pages is ", o.pages,
                            "; over a caller's pool both must be given");
  }
  const std::size_t needed = kv_cache::pool_layout(kv_cache::resolved(o), o.page_size, o.pages).bytes;
  if (o.pool.size() < needed) {
    return invalid_argument("the pool has ", o.pool.size(), " bytes; ", o.pages, " pages need ", needed);
  }
  if (reinterpret_cast<std::uintptr_t>(o.pool.data()) % 64 != 0) {
    return invalid_argument("the pool begins at ", reinterpret_cast<std::uintptr_t>(o.pool.data()),
                            "; its address must be a multiple of 64");
  }
  if (o.device.type == DeviceType::cuda) return cuda::check_pointer("pool", {}, o.device.index, o.pool.data());
  return {};
}

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
  if (Status status = check_device_options(o, value_dim); !status.ok()) return status;
  return check_pool(o);
}

namespace {

// What an append has reserved. Unless it is kept, pages go back, and what the append has overwritten is given up.
class Reservation {
 public:
  Reservation(Cache& cache, std::span<const CacheAppend> entries) noexcept : cache_(&cache), entries_(entries) {}
  ~Reservation() {
    if (cache_ != nullptr) cache_->abandon(entries_, progress_ != nullptr && (!cache_->on_device() || progress_->rows));
  }
  // The back end writes rows from now on; on the CPU it does not say how far it has come.
  void runs(const CacheProgress& progress, bool captured) noexcept { progress_ = captured ? nullptr : &progress; }
  void keep() noexcept { cache_ = nullptr; }

 private:
  Cache* cache_;
  std::span<const CacheAppend> entries_;
  const CacheProgress* progress_ = nullptr;
};

Status append_rows(Cache& cache, const TensorView& k, const TensorView& v, Layout layout,
                   std::span<const std::int64_t> named, std::span<const std::int64_t> counts,
                   const Execution& execution) {
  const KVCacheOptions& options = cache.options();
  if (Status status = check_execution(execution); !status.ok()) return status;
  if (Status status = check_cache_layout(layout); !status.ok()) return status;
  const NamedTensor tensors[] = {{{"k"}, &k}, {{"v"}, &v}};
  if (Status status = check_cache_device(cache, tensors); !status.ok()) return status;
  if (Status status = check_stream(execution, options.device); !status.ok()) return status;
  Axes axes_k, axes_v;
  ByteRange range;
  ByteRanges ranges;
  const auto pool = reinterpret_cast<std::uintptr_t>(options.pool.data());
  ranges.writes({"pool"}, {pool, pool + options.pool.size()});
  if (Status status = check_cache_rows("k", k, layout, false, axes_k, range); !status.ok()) return status;
  ranges.reads({"k"}, range);
  if (Status status = check_cache_rows("v", v, layout, false, axes_v, range); !status.ok()) return status;
  ranges.reads({"v"}, range);
  if (Status status = ranges.check(); !status.ok()) return status;
  if (Status status = check_pointers(tensors, options.device); !status.ok()) return status;
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
  if (Status status = named_sequences(cache, named, axes_k.batch, "k", sequences); !status.ok()) return status;
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
  const Result<const Implementation*> selected = select_cache_implementation(execution.implementation, options.device);
  if (!selected.ok()) return selected.status();
  const Implementation& implementation = **selected;
  std::vector<std::int64_t> slots;
  for (const CacheAppend& entry : entries) slots.push_back(entry.sequence);
  const Result<bool> captured = check_capture(cache, execution, slots);
  if (!captured.ok()) return captured.status();
  if (*captured) {
    if (Status status = check_captured_append(cache, entries); !status.ok()) return status;
  }
  std::optional<Cache::Changes> changes;  // lives longer than what looks at its progress
  if (Status status = cache.reserve(entries); !status.ok()) return status;
  Reservation reservation(cache, entries);
  CacheAppendProblem problem;
  problem.cache = cache.view();
  problem.k = operand_of(k, layout);
  problem.v = operand_of(v, layout);
  problem.entries = entries.data();
  problem.count = static_cast<std::int64_t>(entries.size());
  changes.emplace(cache.take_changes(slots));
  problem.changes = changes->of_call(*captured);
  reservation.runs(changes->progress(), *captured);
  if (Status status = implementation.backend().append(implementation, problem, execution); !status.ok()) return status;
  changes->brought();
  reservation.keep();
  // A graph adds its tokens when it runs: advance().
  if (!*captured) cache.commit(entries);
  note_served_by(implementation);
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
    Result<std::unique_ptr<Cache>> cache = Cache::create(options, allocator_of(options.device));
    if (!cache.ok()) return cache.status();
    return KVCache(*std::move(cache));
  });
}

Result<std::size_t> KVCache::pool_size(const KVCacheOptions& options) noexcept {
  return guarded([&]() -> Result<std::size_t> {
    KVCacheOptions o = options;
    o.pool = {};
    if (Status status = check_options(o); !status.ok()) return status;
    if (o.page_size == 0 || o.pages == 0) {
      return invalid_argument("page_size is ", o.page_size, " and pages is ", o.pages, "; a pool of pages needs both");
    }
    return kv_cache::pool_layout(kv_cache::resolved(o), o.page_size, o.pages).bytes;
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

Status KVCache::set_block_table(std::int64_t sequence, std::span<const std::int32_t> pages) noexcept {
  return guarded([&]() -> Status {
    if (Status status = check_sequence(*this, sequence); !status.ok()) return status;
    if (!cache_->external()) {
      return invalid_argument("the cache has memory of its own; only over a caller's pool are pages named");
    }
    return cache_->set_block_table(sequence, pages);
  });
}

Status KVCache::advance(std::int64_t tokens, std::span<const std::int64_t> sequences) noexcept {
  return guarded([&]() -> Status {
    if (!cache_->on_device()) {
      return invalid_argument(
          "the key-value cache is on the CPU; only graphs of a device append tokens that the cache "
          "does not know of");
    }
    const auto check = [&](std::int64_t sequence) -> Status {
      if (Status status = check_sequence(*this, sequence); !status.ok()) return status;
      const std::int64_t present = cache_->length(sequence), most = options().capacity - present;
      if (tokens >= 0 && tokens <= most) return {};
      return invalid_argument("tokens is ", tokens, "; sequence ", sequence, " has ", present, " of ",
                              options().capacity, ", and 0 to ", most, " are allowed");
    };
    std::vector<std::int64_t> named(sequences.begin(), sequences.end());
    for (std::int64_t b = 0; sequences.empty() && b < options().batch; ++b) named.push_back(b);
    for (const std::int64_t sequence : named) {
      if (Status status = check(sequence); !status.ok()) return status;
    }
    for (const std::int64_t sequence : named) cache_->advance(sequence, tokens);
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
    for (const std::int64_t sequence : sequences) cache_->reset(sequence);
    for (std::int64_t b = 0; sequences.empty() && b < options().batch; ++b) cache_->reset(b);
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
