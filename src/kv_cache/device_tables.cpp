// The tables of a cache on a device: what its memory holds of the block table and the lengths, and what must still be
// brought there. Every call names its slots, so the others' changes wait for theirs. Copies of rows do not wait: later
// calls change the rows that they read.
#include <algorithm>
#include <limits>

#include "kv_cache/cache.hpp"

namespace octavo::kv_cache {
namespace {

constexpr std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
constexpr std::int32_t kUnknown = std::numeric_limits<std::int32_t>::min();  // no page, no length

}  // namespace

std::int64_t Cache::device_words() const noexcept { return options_.batch * (pages_per_sequence_ + 2); }

// CacheView's order: the block table, lengths, beginnings of the kept rows.
std::int32_t Cache::device_word(std::int64_t word) const noexcept {
  const std::int64_t behind = word - options_.batch * pages_per_sequence_;
  if (behind < 0) return table_[index(word)];
  const State& state = states_[index(behind % options_.batch)];
  return static_cast<std::int32_t>(behind < options_.batch ? state.length : state.kept_begin);
}

template <class F>
void Cache::for_each_word(std::int64_t slot, const F& f) const {
  for (std::int64_t p = 0; p < pages_per_sequence_; ++p) f(slot * pages_per_sequence_ + p);
  f(options_.batch * pages_per_sequence_ + slot);
  f(options_.batch * (pages_per_sequence_ + 1) + slot);
}

CacheChanges Cache::Changes::of_call(bool captured) const noexcept {
  return {copies.data(), static_cast<std::int64_t>(copies.size()), updates.data(),
          static_cast<std::int64_t>(updates.size()), captured};
}

Cache::Changes Cache::take_changes(std::span<const std::int64_t> slots) const {
  Changes changes;
  if (!on_device()) return changes;
  changes.order = std::unique_lock(launch_mutex_);
  const std::lock_guard lock(sent_mutex_);
  changes.copies.swap(copies_);
  std::vector<CacheUpdate>& updates = changes.updates;
  for (const std::int64_t slot : slots) {
    for_each_word(slot, [&](std::int64_t word) {
      const std::int32_t value = device_word(word);
      if (sent_[index(word)] == value) return;
      updates.push_back({static_cast<std::uint32_t>(word), value});
      sent_[index(word)] = value;
    });
  }
  return changes;
}

bool Cache::has_changes(std::span<const std::int64_t> slots) const {
  const std::lock_guard lock(sent_mutex_);
  bool found = !copies_.empty();
  for (const std::int64_t slot : slots) {
    for_each_word(slot, [&](std::int64_t word) { found = found || sent_[index(word)] != device_word(word); });
  }
  return found;
}

void Cache::give_back_changes(Changes&& changes) const {
  if (!on_device()) return;
  const std::lock_guard lock(sent_mutex_);
  std::fill(sent_.begin(), sent_.end(), kUnknown);
  copies_.insert(copies_.begin(), changes.copies.begin(), changes.copies.end());
}

void Cache::note_device(std::int64_t slot) const noexcept {
  for_each_word(slot, [&](std::int64_t word) { sent_[index(word)] = device_word(word); });
}

void Cache::advance(std::int64_t sequence, std::int64_t tokens) noexcept {
  const std::int64_t slot = slots_[index(sequence)];
  State& state = states_[index(slot)];
  state.length += tokens;
  state.kept_begin = std::max(state.kept_begin, state.length - kKeptRing);
  // What was unknown before stays so.
  for (const std::int64_t part : {0, 1}) {
    const std::int64_t word = options_.batch * (pages_per_sequence_ + part) + slot;
    if (sent_[index(word)] != kUnknown) sent_[index(word)] = device_word(word);
  }
}

}  // namespace octavo::kv_cache
