// The memory of a key-value cache and what each sequence holds: pages, lengths, which rows are kept in 16 bits. No
// arithmetic: a back end writes the rows (CacheAppendProblem) between reserve() and commit().
//   A sequence's state lies in a slot; reordering sequences moves slots. Contiguous memory is one page per slot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/cache_problem.hpp"
#include "kv_cache/memory.hpp"
#include "kv_cache/pages.hpp"
#include "octavo/kv_cache.hpp"

namespace octavo::kv_cache {

// The arrays of a pool of pages, one behind the other at multiples of 64 bytes.
struct PoolLayout {
  std::size_t k = 0, v = 0, k_scale = 0, v_scale = 0, bytes = 0;  // offsets, and the end
};
// `options` have passed the api's checks, value_head_dim and pages are resolved.
PoolLayout pool_layout(const KVCacheOptions& options, std::int64_t page_size, std::int64_t pages);

// Options with value_head_dim and pages resolved.
KVCacheOptions resolved(const KVCacheOptions& given);

// Element number `at` of `from` becomes element number `to_at` of `to`; of s4 the other nibble of its byte stays.
void copy_element(DType format, const std::byte* from, std::int64_t at, std::byte* to, std::int64_t to_at) noexcept;

class Cache {
 public:
  // `options` have passed the api's checks. `allocate`: for a cache on a device. Errors: resource_exhausted.
  static Result<std::unique_ptr<Cache>> create(const KVCacheOptions& options, const DeviceAllocator& allocate = {});

  const KVCacheOptions& options() const noexcept { return options_; }
  std::int64_t length(std::int64_t sequence) const noexcept { return state(sequence).length; }
  std::size_t nbytes() const noexcept;
  std::int64_t free_pages() const noexcept { return !paged() ? 0 : external() ? pages_.unused() : pages_.free(); }
  bool paged() const noexcept { return options_.page_size != 0; }
  // Over a caller's pool: the caller names the pages of each sequence.
  bool external() const noexcept { return !options_.pool.empty(); }

  bool on_device() const noexcept { return options_.device.type != DeviceType::cpu; }
  // All pages, and K's means.
  std::span<std::byte> pool() const noexcept { return {pool_data(), layout_.bytes}; }
  const PoolLayout& layout() const noexcept { return layout_; }
  const Memory& k_means() const noexcept { return k_mean_; }
  const std::int32_t* block_table() const noexcept { return table_.data(); }

  // What the host has changed since a call on the device last brought it there: all copies and moves, and tables and
  // lengths of these slots. From now on it counts as brought. Unless the call ends with brought(), the cache takes back
  // the copies and moves that were not enqueued, and brings all tables and lengths again.
  class Changes {
   public:
    Changes() = default;
    Changes(Changes&& other) noexcept;
    ~Changes();
    bool has_copies() const noexcept { return !copies_.empty() || !moves_.empty(); }
    CacheChanges of_call(bool captured) noexcept;
    const CacheProgress& progress() const noexcept { return progress_; }
    void brought() noexcept { cache_ = nullptr; }

   private:
    friend class Cache;
    const Cache* cache_ = nullptr;
    std::unique_lock<std::mutex> order_;  // until the call has launched them, no other call comes in between
    std::vector<CacheCopy> copies_;
    std::vector<CacheMove> moves_;
    std::vector<CacheUpdate> updates_;
    CacheProgress progress_;
  };
  Changes take_changes(std::span<const std::int64_t> slots) const;
  bool has_changes(std::span<const std::int64_t> slots) const;
  // Tokens that graphs have appended on the device.
  void advance(std::int64_t sequence, std::int64_t tokens) noexcept;

  // The same cache in memory of its own on another device; `transfer` copies there. Over a caller's pool: for save().
  Result<std::unique_ptr<Cache>> copied(Device device, const DeviceAllocator& allocate, const Transfer& transfer) const;

  // What kernels read and write. `sequence` in their entries is a slot.
  CacheView view() const noexcept;
  CacheSequence entry(std::int64_t sequence) const noexcept;
  CacheAppend entry(std::int64_t sequence, std::int64_t rows) const noexcept;

  // invalid_argument: not a table of distinct pages that has room for the sequence's tokens. Of a caller's pool.
  Status set_block_table(std::int64_t sequence, std::span<const std::int32_t> pages);
  // Empties a sequence; over a caller's pool it has no pages then.
  void reset(std::int64_t sequence) noexcept;

  // Pages for the rows of an append, all or none; pages that others share are copied. resource_exhausted: too few.
  // Over a caller's pool the pages are the table's; invalid_argument: one of them belongs to another sequence, too.
  Status reserve(std::span<const CacheAppend> entries);
  // On a device the kernels have done the same to its lengths.
  void commit(std::span<const CacheAppend> entries) noexcept;
  // After an append that failed: pages go back. `written`: its rows may have taken the places of kept rows, as before
  // a trim().
  void abandon(std::span<const CacheAppend> entries, bool written) noexcept;

  // What a saved cache holds behind its header. null: only counts. load(): into an empty cache of the same options;
  // invalid_argument: not the contents of such a cache, which is of no use then.
  std::size_t save(std::byte* to) const;
  Status load(std::span<const std::byte> from);

  void trim(std::int64_t sequence, std::int64_t length) noexcept;
  // resource_exhausted: pages that others share would be written, and too few are free; unimplemented: not whole strips
  // of a cache on a device. Nothing has changed then.
  Status evict(std::int64_t sequence, std::int64_t keep_first, std::int64_t keep_last);
  // On a device rows are copied by the next call. What throws has changed nothing.
  void fork(std::int64_t from, std::int64_t to);
  void reorder(std::span<const std::int64_t> sources);

 private:
  struct State {
    std::int64_t length = 0;
    std::int64_t kept_begin = 0;  // the ring holds tokens kept_begin .. length - 1
  };

  Cache(const KVCacheOptions& options, std::int64_t page_size, std::int64_t pages);
  const State& state(std::int64_t sequence) const noexcept {
    return states_[static_cast<std::size_t>(slots_[static_cast<std::size_t>(sequence)])];
  }
  std::int32_t& page(std::int64_t slot, std::int64_t index) noexcept {
    return table_[static_cast<std::size_t>(slot * pages_per_sequence_ + index)];
  }
  std::int64_t pages_of(std::int64_t tokens) const noexcept { return (tokens + page_size_ - 1) / page_size_; }
  template <class Blocks>
  void for_each_page_block(std::int32_t page, std::int64_t tokens, const Blocks& blocks) const;
  template <class Blocks>
  void for_each_slot_block(std::int64_t slot, const Blocks& blocks) const;
  void renumber_kept(std::int64_t slot, const State& state, std::int64_t keep_first, std::int64_t removed);
  Status check_eviction(std::int64_t keep_first, std::int64_t removed) const;
  void move_tokens(std::int64_t slot, std::int32_t to, std::int64_t begin, std::int64_t end, std::int64_t removed);
  void note_moves(std::int64_t slot, std::span<const std::int32_t> to, std::int64_t begin, std::int64_t end,
                  std::int64_t removed);
  std::byte* pool_data() const noexcept { return external() ? options_.pool.data() : own_pool_.data(); }
  std::int64_t device_words() const noexcept;
  std::int32_t device_word(std::int64_t word) const noexcept;
  template <class F>
  void for_each_word(std::int64_t slot, const F& f) const;
  void note_device(std::int64_t slot) const noexcept;
  Status check_own_pages(std::span<const CacheAppend> entries) const;
  void drop_table(std::int64_t slot) noexcept;
  std::int64_t sequence_of(std::int64_t slot) const noexcept;
  void trim_slot(std::int64_t slot, std::int64_t length) noexcept;
  void copy_slot(std::int64_t from, std::int64_t to);
  void copy_page(std::int32_t from, std::int32_t to, std::int64_t tokens);
  void copy_kept(std::int64_t from, std::int64_t to);
  void copy_bytes(std::byte* to, const std::byte* from, std::int64_t bytes);
  void reserve_copies(std::int64_t count);
  std::int64_t copies_of_page() const noexcept { return 4 * options_.kv_heads; }
  std::int64_t copies_of_slot() const noexcept { return 5 + (paged() ? 0 : copies_of_page()); }

  KVCacheOptions options_;
  std::int64_t page_size_, page_count_, pages_per_sequence_;
  Pages pages_;
  std::vector<std::int32_t> table_;  // [slots][pages_per_sequence]
  std::vector<std::int64_t> slots_;  // of sequences
  std::vector<State> states_;        // of slots
  PoolLayout layout_;
  Memory own_pool_;  // empty: the caller's
  Memory k_mean_, kept_k_, kept_v_, kept_k_unit_, kept_v_unit_;
  Memory words_;                            // of a cache on a device: CacheView::words
  mutable std::vector<std::int32_t> sent_;  // what it holds there; attention of several threads may bring updates
  mutable std::vector<CacheCopy> copies_;   // not yet brought there
  mutable std::vector<CacheMove> moves_;    // likewise
  std::int64_t copy_step_ = 0;
  mutable std::mutex launch_mutex_, sent_mutex_;
};

}  // namespace octavo::kv_cache
