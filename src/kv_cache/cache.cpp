// Sizes of the arrays are products of options; create() checks that they fit.
#include "kv_cache/cache.hpp"

#include <algorithm>
#include <cstring>

#include "core/text.hpp"
#include "spec/cache_layout.hpp"

namespace octavo::kv_cache {
namespace {

constexpr std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

std::int64_t rounded_to_strips(std::int64_t tokens) { return (tokens + kCacheStrip - 1) / kCacheStrip * kCacheStrip; }

struct Array {
  Memory* memory;
  std::int64_t rows, row_bytes;
};

}  // namespace

void copy_element(DType format, const std::byte* from, std::int64_t at, std::byte* to, std::int64_t to_at) noexcept {
  if (format != DType::s4) {
    const std::size_t size = index(spec::cache_bits(format) / 8);
    std::memcpy(to + index(to_at) * size, from + index(at) * size, size);
    return;
  }
  const int code = std::to_integer<int>(from[at / 2]) >> (at % 2 * 4) & 15, shift = static_cast<int>(to_at % 2) * 4;
  to[to_at / 2] = static_cast<std::byte>((std::to_integer<int>(to[to_at / 2]) & ~(15 << shift)) | code << shift);
}

Cache::Cache(const KVCacheOptions& options, std::int64_t page_size, std::int64_t pages)
    : options_(options),
      page_size_(page_size),
      page_count_(pages),
      pages_per_sequence_((options.capacity + page_size - 1) / page_size),
      pages_(pages),
      table_(index(options.batch * pages_per_sequence_), -1),
      slots_(index(options.batch)),
      states_(index(options.batch)) {
  for (std::int64_t b = 0; b < options.batch; ++b) {
    slots_[index(b)] = b;
    if (!paged()) page(b, 0) = pages_.take();
  }
}

KVCacheOptions resolved(const KVCacheOptions& given) {
  KVCacheOptions options = given;
  if (options.value_head_dim == 0) options.value_head_dim = options.head_dim;
  if (options.page_size != 0 && options.pages == 0)
    options.pages = options.batch * ((options.capacity + options.page_size - 1) / options.page_size);
  return options;
}

PoolLayout pool_layout(const KVCacheOptions& options, std::int64_t page_size, std::int64_t pages) {
  const std::int64_t rows = pages * options.kv_heads * page_size, bits = spec::cache_bits(options.format);
  PoolLayout layout;
  const auto place = [&](std::int64_t row_bytes) {
    const std::size_t at = layout.bytes;
    layout.bytes += (index(rows * row_bytes) + 63) / 64 * 64;
    return at;
  };
  layout.k = place(spec::cache_k_columns(options.head_dim) * bits / 8);
  layout.v = place(spec::cache_v_columns(options.value_head_dim) * bits / 8);
  const std::int64_t scale_bytes = spec::cache_has_scales(options.format) ? 4 : 0;
  layout.k_scale = place(scale_bytes);
  layout.v_scale = place(scale_bytes);
  return layout;
}

Result<std::unique_ptr<Cache>> Cache::create(const KVCacheOptions& given, const DeviceAllocator& allocate) {
  const KVCacheOptions options = resolved(given);
  const std::int64_t page_size = options.page_size != 0 ? options.page_size : rounded_to_strips(options.capacity);
  const std::int64_t pages = options.page_size != 0 ? options.pages : options.batch;
  const bool rotates = spec::cache_rotates(options.format), keeps = rotates && options.kept_keys;
  const std::int64_t k_columns = spec::cache_k_columns(options.head_dim);
  const std::int64_t v_columns = spec::cache_v_columns(options.value_head_dim);
  const std::int64_t heads = options.batch * options.kv_heads, kept_rows = keeps ? heads * kKeptSlots : 0;
  std::unique_ptr<Cache> cache(new Cache(options, page_size, pages));
  cache->layout_ = pool_layout(options, page_size, pages);
  const Array arrays[] = {
      {&cache->own_pool_, options.pool.empty() ? 1 : 0, static_cast<std::int64_t>(cache->layout_.bytes)},
      {&cache->k_mean_, rotates ? heads : 0, spec::cache_mean_columns(options.head_dim) * 4},
      {&cache->kept_k_, kept_rows, k_columns * 2},
      {&cache->kept_v_, kept_rows, v_columns * 2},
      {&cache->kept_k_unit_, kept_rows, 4},
      {&cache->kept_v_unit_, kept_rows, 4}};
  for (const Array& array : arrays) {
    if (array.rows == 0) continue;
    const std::size_t bytes = index(array.rows * array.row_bytes);
    if (cache->on_device()) {
      Result<std::shared_ptr<void>> memory = allocate(bytes, nullptr);
      if (!memory.ok()) return memory.status();
      *array.memory = Memory(*std::move(memory), bytes);
      continue;
    }
    *array.memory = Memory(AlignedBuffer(bytes));
    if (array.memory->data() != nullptr) continue;
    return resource_exhausted("a cache of ", pages * options.kv_heads * page_size, " rows of K and V needs ",
                              array.rows * array.row_bytes,
                              " bytes for one of its arrays, which this machine does not have");
  }
  if (!cache->on_device()) return cache;
  for (std::int64_t word = 0; word < cache->device_words(); ++word) cache->sent_.push_back(cache->device_word(word));
  const std::size_t bytes = cache->sent_.size() * sizeof(std::int32_t);
  Result<std::shared_ptr<void>> words = allocate(bytes, cache->sent_.data());
  if (!words.ok()) return words.status();
  cache->words_ = Memory(*std::move(words), bytes);
  return cache;
}

Result<std::unique_ptr<Cache>> Cache::copied(Device device, const DeviceAllocator& allocate,
                                             const Transfer& transfer) const {
  KVCacheOptions options = options_;
  options.device = device;
  options.pool = {};
  Result<std::unique_ptr<Cache>> made = create(options, allocate);
  if (!made.ok()) return made;
  Cache& cache = **made;
  cache.pages_ = pages_;
  cache.table_ = table_;
  cache.slots_ = slots_;
  cache.states_ = states_;
  if (Status status = transfer(cache.pool_data(), pool_data(), layout_.bytes); !status.ok()) return status;
  for (Memory Cache::* memory :
       {&Cache::k_mean_, &Cache::kept_k_, &Cache::kept_v_, &Cache::kept_k_unit_, &Cache::kept_v_unit_}) {
    const Memory& from = this->*memory;
    if (from.size() == 0) continue;
    if (Status status = transfer((cache.*memory).data(), from.data(), from.size()); !status.ok()) return status;
  }
  return made;
}

std::size_t Cache::nbytes() const noexcept {
  std::size_t bytes = table_.size() * sizeof(table_[0]) + slots_.size() * sizeof(slots_[0]) +
                      states_.size() * sizeof(states_[0]) + index(page_count_) * 2 * sizeof(std::int32_t);
  bytes += layout_.bytes;  // what lies behind it in an allocation of whole huge pages is never touched
  for (const Memory* memory : {&k_mean_, &kept_k_, &kept_v_, &kept_k_unit_, &kept_v_unit_, &words_})
    bytes += memory->size();
  return bytes;
}

CacheView Cache::view() const noexcept {
  const auto floats = [](const Memory& memory) { return reinterpret_cast<float*>(memory.data()); };
  CacheView view;
  view.format = options_.format;
  view.kv_heads = options_.kv_heads;
  view.head_dim = options_.head_dim;
  view.value_dim = options_.value_head_dim;
  view.k_columns = spec::cache_k_columns(view.head_dim);
  view.v_columns = spec::cache_v_columns(view.value_dim);
  view.mean_columns = spec::cache_mean_columns(view.head_dim);
  view.page_size = page_size_;
  std::byte* const pool = pool_data();
  view.k = pool + layout_.k;
  view.v = pool + layout_.v;
  if (spec::cache_has_scales(view.format)) {
    view.k_scale = reinterpret_cast<float*>(pool + layout_.k_scale);
    view.v_scale = reinterpret_cast<float*>(pool + layout_.v_scale);
  }
  view.block_table = table_.data();
  view.pages_per_sequence = pages_per_sequence_;
  view.sequences = options_.batch;
  view.capacity = options_.capacity;
  if (on_device()) {
    view.device = options_.device;
    view.words = reinterpret_cast<std::int32_t*>(words_.data());
    view.block_table = view.words;
  }
  view.k_mean = floats(k_mean_);
  view.kept_k = reinterpret_cast<std::uint16_t*>(kept_k_.data());
  view.kept_v = reinterpret_cast<std::uint16_t*>(kept_v_.data());
  view.kept_k_unit = floats(kept_k_unit_);
  view.kept_v_unit = floats(kept_v_unit_);
  return view;
}

CacheSequence Cache::entry(std::int64_t sequence) const noexcept {
  return {slots_[index(sequence)], state(sequence).length, state(sequence).kept_begin};
}
CacheAppend Cache::entry(std::int64_t sequence, std::int64_t rows) const noexcept {
  const std::int64_t first = state(sequence).length;
  return {slots_[index(sequence)], first, rows, first == 0 && spec::cache_rotates(options_.format)};
}

Status Cache::reserve(std::span<const CacheAppend> entries) {
  if (!paged()) return {};
  if (external()) return check_own_pages(entries);
  // Pages that each entry needs: copies of the last one while others use it, and new ones. Of several entries that
  // share a page the last one to write keeps it.
  std::vector<std::int32_t> left;  // users of shared pages, by entry
  std::int64_t needed = 0;
  const auto last_page = [&](const CacheAppend& e) -> std::int32_t {
    return e.rows > 0 && e.first % page_size_ != 0 ? page(e.sequence, e.first / page_size_) : -1;
  };
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const CacheAppend& e = entries[i];
    needed += e.rows > 0 ? pages_of(e.first + e.rows) - pages_of(e.first) : 0;
    const std::int32_t shared = last_page(e);
    if (shared < 0 || !pages_.shared(shared)) continue;
    std::int64_t earlier = 0;
    for (std::size_t j = 0; j < i; ++j) earlier += last_page(entries[j]) == shared ? 1 : 0;
    if (pages_.users(shared) - earlier > 1) ++needed;
  }
  if (needed > pages_.free())
    return resource_exhausted("the append needs ", needed, " pages and ", pages_.free(), " of ", page_count_,
                              " are free");
  reserve_copies(static_cast<std::int64_t>(entries.size()) * copies_of_page());
  ++copy_step_;
  for (const CacheAppend& e : entries) {
    if (const std::int32_t last = last_page(e); last >= 0 && pages_.shared(last)) {
      const std::int32_t own = pages_.take();
      copy_page(last, own, e.first % page_size_);
      pages_.release(last);
      page(e.sequence, e.first / page_size_) = own;
    }
    for (std::int64_t p = pages_of(e.first); e.rows > 0 && p < pages_of(e.first + e.rows); ++p)
      page(e.sequence, p) = pages_.take();
  }
  return {};
}

void Cache::commit(std::span<const CacheAppend> entries) noexcept {
  for (const CacheAppend& e : entries) {
    State& state = states_[index(e.sequence)];
    if (e.first == 0) state.kept_begin = 0;
    state.length = e.first + e.rows;
    state.kept_begin = std::max(state.kept_begin, state.length - kKeptRing);
    if (on_device()) note_device(e.sequence);
  }
}

void Cache::abandon(std::span<const CacheAppend> entries, bool written) noexcept {
  for (const CacheAppend& e : entries) {
    for (std::int64_t p = pages_of(e.first); paged() && !external() && p < pages_of(e.first + e.rows); ++p) {
      pages_.release(page(e.sequence, p));
      page(e.sequence, p) = -1;
    }
    State& state = states_[index(e.sequence)];
    if (written) state.kept_begin = std::min(std::max(state.kept_begin, e.first + e.rows - kKeptRing), e.first);
  }
}

void Cache::reset(std::int64_t sequence) noexcept {
  trim_slot(slots_[index(sequence)], 0);
  drop_table(slots_[index(sequence)]);
}

void Cache::trim(std::int64_t sequence, std::int64_t length) noexcept { trim_slot(slots_[index(sequence)], length); }

void Cache::trim_slot(std::int64_t slot, std::int64_t length) noexcept {
  State& state = states_[index(slot)];
  if (paged() && !external()) {
    for (std::int64_t p = pages_of(length); p < pages_of(state.length); ++p) {
      pages_.release(page(slot, p));
      page(slot, p) = -1;
    }
  }
  state.length = length;
  state.kept_begin = std::min(state.kept_begin, length);
}

void Cache::fork(std::int64_t from, std::int64_t to) {
  if (from == to) return;
  reserve_copies(copies_of_slot());
  ++copy_step_;
  reset(to);
  copy_slot(slots_[index(from)], slots_[index(to)]);
}

// `to` is empty.
void Cache::copy_slot(std::int64_t from, std::int64_t to) {
  states_[index(to)] = states_[index(from)];
  const std::int64_t length = states_[index(from)].length;
  if (!paged()) {
    copy_page(page(from, 0), page(to, 0), length);
  } else {
    for (std::int64_t p = 0; p < pages_of(length); ++p) {
      pages_.share(page(from, p));
      page(to, p) = page(from, p);
    }
  }
  copy_kept(from, to);
}

// The copies that follow are noted without an allocation, so that none is missing.
void Cache::reserve_copies(std::int64_t count) {
  const std::size_t needed = copies_.size() + index(count);
  if (on_device() && needed > copies_.capacity()) copies_.reserve(std::max(needed, 2 * copies_.capacity()));
}

void Cache::copy_bytes(std::byte* to, const std::byte* from, std::int64_t bytes) {
  if (bytes == 0) return;
  if (!on_device()) {
    std::memcpy(to, from, index(bytes));
    return;
  }
  // Strip after strip, each of K, V and their scales: runs are one copy.
  const std::size_t last = copies_.size();
  for (std::size_t i = last - std::min<std::size_t>(last, 4); i < last; ++i) {
    CacheCopy& copy = copies_[i];
    if (copy.step != copy_step_ || copy.from + copy.bytes != from || copy.to + copy.bytes != to) continue;
    copy.bytes += bytes;
    return;
  }
  copies_.push_back({from, to, bytes, copy_step_});
}

// The first `tokens` rows of all heads.
void Cache::copy_page(std::int32_t from, std::int32_t to, std::int64_t tokens) {
  const CacheView view = this->view();
  const std::int64_t rows = rounded_to_strips(tokens), bits = spec::cache_bits(view.format);
  for (std::int64_t h = 0; h < view.kv_heads; ++h) {
    const std::int64_t a = (from * view.kv_heads + h) * page_size_, b = (to * view.kv_heads + h) * page_size_;
    const auto copy = [&](std::byte* data, std::int64_t row_bytes) {
      copy_bytes(data + b * row_bytes, data + a * row_bytes, rows * row_bytes);
    };
    copy(view.k, view.k_columns * bits / 8);
    copy(view.v, view.v_columns * bits / 8);
    if (!view.has_scales()) continue;
    copy(reinterpret_cast<std::byte*>(view.k_scale), 4);
    copy(reinterpret_cast<std::byte*>(view.v_scale), 4);
  }
}

// What a slot holds beside its pages.
void Cache::copy_kept(std::int64_t from, std::int64_t to) {
  const CacheView view = this->view();
  const auto copy = [&](std::byte* data, std::int64_t bytes_of_slot) {
    if (data != nullptr) copy_bytes(data + to * bytes_of_slot, data + from * bytes_of_slot, bytes_of_slot);
  };
  const std::int64_t kept_rows = view.kv_heads * kKeptSlots;
  copy(k_mean_.data(), view.kv_heads * view.mean_columns * 4);
  copy(kept_k_.data(), kept_rows * view.k_columns * 2);
  copy(kept_v_.data(), kept_rows * view.v_columns * 2);
  copy(kept_k_unit_.data(), kept_rows * 4);
  copy(kept_v_unit_.data(), kept_rows * 4);
}

void Cache::reorder(std::span<const std::int64_t> sources) {
  const std::vector<std::int64_t> old = slots_;
  std::vector<std::int64_t> unused;  // slots that no sequence continues
  std::vector<bool> taken(old.size(), false);
  for (const std::int64_t source : sources) taken[index(source)] = true;
  unused.reserve(old.size());
  for (std::size_t b = 0; b < old.size(); ++b) {
    if (!taken[b]) unused.push_back(old[b]);
  }
  reserve_copies(static_cast<std::int64_t>(unused.size()) * copies_of_slot());
  ++copy_step_;
  for (const std::int64_t slot : unused) {
    trim_slot(slot, 0);
    drop_table(slot);
  }
  std::fill(taken.begin(), taken.end(), false);
  for (std::size_t b = 0; b < old.size(); ++b) {
    const auto source = index(sources[b]);
    if (!taken[source]) {  // the first one takes the slot over
      taken[source] = true;
      slots_[b] = old[source];
      continue;
    }
    slots_[b] = unused.back();
    unused.pop_back();
    copy_slot(old[source], slots_[b]);
  }
}

}  // namespace octavo::kv_cache
