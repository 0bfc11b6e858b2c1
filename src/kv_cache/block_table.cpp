// Block tables over a caller's pool: the caller names the pages of each sequence, the cache counts how many sequences
// have a page, and writes to none that two have.
#include <algorithm>

#include "core/text.hpp"
#include "kv_cache/cache.hpp"

namespace octavo::kv_cache {
namespace {

constexpr std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

Status Cache::set_block_table(std::int64_t sequence, std::span<const std::int32_t> pages) {
  const std::int64_t slot = slots_[index(sequence)], needed = pages_of(states_[index(slot)].length);
  const auto count = static_cast<std::int64_t>(pages.size());
  if (count > pages_per_sequence_) {
    return invalid_argument("the block table has ", count, " pages; a sequence of at most ", options_.capacity,
                            " tokens has at most ", pages_per_sequence_, " of ", page_size_);
  }
  if (count < needed) {
    return invalid_argument("the block table has ", count, " pages; sequence ", sequence, " has ",
                            states_[index(slot)].length, " tokens, which take ", needed);
  }
  std::vector<bool> named(index(page_count_), false);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (pages[i] < 0 || pages[i] >= page_count_) {
      return invalid_argument("pages[", i, "] is ", pages[i], "; the pool has pages 0 to ", page_count_ - 1);
    }
    if (named[index(pages[i])]) {
      return invalid_argument("pages[", i, "] is ", pages[i], ", which the block table names before; pages of a ",
                              "sequence must be distinct");
    }
    named[index(pages[i])] = true;
  }
  drop_table(slot);
  for (std::int64_t p = 0; p < count; ++p) {
    page(slot, p) = pages[index(p)];
    pages_.share(pages[index(p)]);
  }
  return {};
}

void Cache::drop_table(std::int64_t slot) noexcept {
  for (std::int64_t p = 0; external() && p < pages_per_sequence_ && page(slot, p) >= 0; ++p) {
    pages_.leave(page(slot, p));
    page(slot, p) = -1;
  }
}

std::int64_t Cache::sequence_of(std::int64_t slot) const noexcept {
  return std::find(slots_.begin(), slots_.end(), slot) - slots_.begin();
}

// The tables have room for the rows, in pages that only one sequence has.
Status Cache::check_own_pages(std::span<const CacheAppend> entries) const {
  for (const CacheAppend& e : entries) {
    if (e.rows == 0) continue;
    const std::int32_t* const table = table_.data() + e.sequence * pages_per_sequence_;
    const std::int64_t needed = pages_of(e.first + e.rows);
    const std::int64_t present = std::find(table, table + pages_per_sequence_, -1) - table;
    if (present < needed) {
      return resource_exhausted("the block table of sequence ", sequence_of(e.sequence), " has ", present,
                                " pages; its ", e.first + e.rows, " tokens take ", needed);
    }
    for (std::int64_t p = e.first / page_size_; p < needed; ++p) {
      if (!pages_.shared(table[p])) continue;
      return invalid_argument("the append writes to page ", table[p], " of sequence ", sequence_of(e.sequence),
                              ", which another sequence has, too; give it a page of its own");
    }
  }
  return {};
}

}  // namespace octavo::kv_cache
