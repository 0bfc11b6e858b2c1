// The tables of a cache on a device: what its memory holds of the block table and the lengths, and what must still be
// brought there. Every call names its slots, so the others' changes wait for theirs. Copies and moves of rows do not
// wait: later calls change the rows that they read.
#include <algorithm>
#include <limits>
#include <utility>

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

Cache::Changes::Changes(Changes&& other) noexcept
    : cache_(std::exchange(other.cache_, nullptr)),
      order_(std::move(other.order_)),
      copies_(std::move(other.copies_)),
      moves_(std::move(other.moves_)),
      updates_(std::move(other.updates_)),
      progress_(other.progress_) {}

// Nobody has noted copies in the meantime: what notes them excludes calls, and `order_` the calls of other threads.
Cache::Changes::~Changes() {
  if (cache_ == nullptr) return;
  const std::lock_guard lock(cache_->sent_mutex_);
  std::fill(cache_->sent_.begin(), cache_->sent_.end(), kUnknown);
  copies_.erase(copies_.begin(), copies_.begin() + progress_.copies);
  copies_.swap(cache_->copies_);
  moves_.erase(moves_.begin(), moves_.begin() + progress_.moves);
  moves_.swap(cache_->moves_);
}

CacheChanges Cache::Changes::of_call(bool captured) noexcept {
  const auto count = [](const auto& of) { return static_cast<std::int64_t>(of.size()); };
  return {copies_.data(),  count(copies_),  moves_.data(), count(moves_),
          updates_.data(), count(updates_), captured,      &progress_};
}

Cache::Changes Cache::take_changes(std::span<const std::int64_t> slots) const {
  Changes changes;
  if (!on_device()) return changes;
  changes.order_ = std::unique_lock(launch_mutex_);
  const std::lock_guard lock(sent_mutex_);
  std::vector<CacheUpdate>& updates = changes.updates_;
  for (const std::int64_t slot : slots) {
    for_each_word(slot, [&](std::int64_t word) {
      if (sent_[index(word)] == device_word(word)) return;
      updates.push_back({static_cast<std::uint32_t>(word), device_word(word)});
    });
  }
  // Nothing is thrown from here on.
  for (const CacheUpdate& update : updates) sent_[update.word] = update.value;
  changes.copies_.swap(copies_);
  changes.moves_.swap(moves_);
  changes.cache_ = this;
  return changes;
}

bool Cache::has_changes(std::span<const std::int64_t> slots) const {
  const std::lock_guard lock(sent_mutex_);
  bool found = !copies_.empty() || !moves_.empty();
  for (const std::int64_t slot : slots) {
    for_each_word(slot, [&](std::int64_t word) { found = found || sent_[index(word)] != device_word(word); });
  }
  return found;
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
