// Removing tokens from the middle of a sequence: what follows moves to the front, by pages where these line up.
#include <algorithm>
#include <cstring>

#include "core/float_types.hpp"
#include "core/text.hpp"
#include "kv_cache/cache.hpp"
#include "spec/cache_layout.hpp"

namespace octavo::kv_cache {
namespace {

constexpr std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

// The rows of K, or of V.
struct Side {
  std::byte* data;
  float* scale;
  std::uint16_t* kept;
  float* kept_unit;
  std::int64_t dim, columns;
  bool is_k;
  std::int64_t element(DType format, std::int64_t row, std::int64_t channel) const {
    const std::int64_t token = row % kCacheStrip;
    return (row - token) * columns +
           (is_k ? spec::cache_k_index(format, token, channel) : spec::cache_v_index(format, columns, token, channel));
  }
};
Side side_of(const CacheView& view, bool is_k) {
  if (is_k) return {view.k, view.k_scale, view.kept_k, view.kept_k_unit, view.head_dim, view.k_columns, true};
  return {view.v, view.v_scale, view.kept_v, view.kept_v_unit, view.value_dim, view.v_columns, false};
}

// Row numbers count tokens of the arrays [pages][kv_heads][page_size].
void copy_row(const CacheView& view, std::int64_t from, std::int64_t to) {
  for (const bool is_k : {true, false}) {
    const Side side = side_of(view, is_k);
    for (std::int64_t d = 0; d < side.columns; ++d)
      copy_element(view.format, side.data, side.element(view.format, from, d), side.data,
                   side.element(view.format, to, d));
    if (side.scale != nullptr) side.scale[to] = side.scale[from];
  }
}

// Whole strips that begin with these rows; they may overlap.
void copy_strips(const CacheView& view, std::int64_t from, std::int64_t to, std::int64_t count) {
  for (const bool is_k : {true, false}) {
    const Side side = side_of(view, is_k);
    const auto copy = [&](std::byte* data, std::int64_t row_bytes) {
      std::memmove(data + to * row_bytes, data + from * row_bytes, index(count * kCacheStrip * row_bytes));
    };
    copy(side.data, side.columns * spec::cache_bits(view.format) / 8);
    if (side.scale != nullptr) copy(reinterpret_cast<std::byte*>(side.scale), sizeof(float));
  }
}

// A kept row made of a row of codes: exactly what the codes stand for.
void keep_codes(const CacheView& view, const Side& side, std::int64_t row, std::int64_t slot) {
  for (std::int64_t d = 0; d < side.columns; ++d) {
    const std::int64_t at = side.element(view.format, row, d);
    int code;
    if (view.format == DType::s8) {
      code = std::to_integer<std::int8_t>(side.data[at]);
    } else {
      code = std::to_integer<int>(side.data[at / 2]) >> (at % 2 * 4) & 15;
      code = (code ^ 8) - 8;
    }
    side.kept[slot * side.columns + d] = f32_to_f16(static_cast<float>(code));
  }
  side.kept_unit[slot] = side.scale[row];
}

}  // namespace

// Kept rows follow their tokens. `state` is the sequence's as it was; its pages are too.
void Cache::renumber_kept(std::int64_t slot, const State& state, std::int64_t keep_first, std::int64_t removed) {
  const CacheView view = this->view();
  if (view.kept_k == nullptr || (keep_first > 0 && removed % kKeptRing == 0)) return;  // they stay where they are
  const std::int64_t begin = std::max(state.kept_begin, keep_first + removed);         // of the rows that move
  std::vector<std::uint16_t> rows(index(kKeptSlots * std::max(view.k_columns, view.v_columns)));
  for (const bool is_k : {true, false}) {
    const Side side = side_of(view, is_k);
    for (std::int64_t h = 0; h < view.kv_heads; ++h) {
      const std::int64_t first = view.kept_slot(slot, h, 0);
      std::uint16_t* const kept = side.kept + first * side.columns;
      float units[kKeptSlots];
      std::copy_n(kept, kKeptSlots * side.columns, rows.begin());
      std::copy_n(side.kept_unit + first, kKeptSlots, units);
      const auto copy = [&](std::int64_t from, std::int64_t to) {
        std::copy_n(rows.begin() + from * side.columns, side.columns, kept + to * side.columns);
        side.kept_unit[first + to] = units[from];
      };
      for (std::int64_t t = begin; t < state.length; ++t) copy(1 + t % kKeptRing, 1 + (t - removed) % kKeptRing);
      if (keep_first > 0) continue;
      if (removed >= state.kept_begin)
        copy(1 + removed % kKeptRing, 0);
      else
        keep_codes(view, side, view.row(slot, h, removed), first);
    }
  }
}

// Tokens begin..end-1 of a page that now is `to` come from `removed` tokens further back.
void Cache::move_tokens(std::int64_t slot, std::int32_t to, std::int64_t begin, std::int64_t end,
                        std::int64_t removed) {
  const CacheView view = this->view();
  for (std::int64_t h = 0; h < view.kv_heads; ++h) {
    const std::int64_t rows = (to * view.kv_heads + h) * page_size_;
    for (std::int64_t t = begin; t < end;) {
      const std::int64_t from = view.row(slot, h, t + removed), row = rows + t % page_size_;
      if (removed % kCacheStrip == 0 && t % kCacheStrip == 0) {
        const std::int64_t strips = paged() ? 1 : (end - t + kCacheStrip - 1) / kCacheStrip;
        copy_strips(view, from, row, strips);
        t += strips * kCacheStrip;
      } else {
        copy_row(view, from, row);
        ++t;
      }
    }
  }
}

// The same on a device for all tokens begin..end-1 of a sequence, whose pages from that of `begin` on now are `to`; its
// table has the old ones. There is room for what is noted.
void Cache::note_moves(std::int64_t slot, std::span<const std::int32_t> to, std::int64_t begin, std::int64_t end,
                       std::int64_t removed) {
  const std::int64_t first_page = begin / page_size_;
  for (std::int64_t t = begin; t < end;) {
    const std::int64_t p = t / page_size_, next = std::min(end, (p + kPagesOfMove) * page_size_), from = t + removed;
    CacheMove& move = moves_.emplace_back();
    move.step = copy_step_;
    move.count = (next - t + kCacheStrip - 1) / kCacheStrip;
    move.distance = removed / kCacheStrip;
    move.first_from = from % page_size_ / kCacheStrip;
    move.first_to = t % page_size_ / kCacheStrip;
    std::copy_n(to.begin() + (p - first_page), pages_of(next) - p, move.to);
    for (std::int64_t q = from / page_size_; q < pages_of(next + removed); ++q)
      move.from[q - from / page_size_] = page(slot, q);
    t = next;
  }
}

// Kernels only copy: whole strips, and no kept row may move.
Status Cache::check_eviction(std::int64_t keep_first, std::int64_t removed) const {
  const bool keeps = kept_k_.size() > 0;
  const std::int64_t unit = keeps ? kKeptRing : kCacheStrip;
  if (!on_device() || (keep_first % unit == 0 && removed % unit == 0 && (keep_first > 0 || !keeps))) return {};
  return unimplemented("keep_first is ", keep_first, " and ", removed,
                       " tokens would be evicted; in a cache on a CUDA device ", keeps ? "with" : "without",
                       " kept keys both must be multiples of ", unit, keeps ? ", keep_first not 0" : "");
}

Status Cache::evict(std::int64_t sequence, std::int64_t keep_first, std::int64_t keep_last) {
  if (external()) {
    return unimplemented("evict over a caller's pool; copy the sequence's tokens, or append them again");
  }
  const std::int64_t slot = slots_[index(sequence)];
  const State old = states_[index(slot)];
  if (keep_first >= old.length || keep_last >= old.length - keep_first) return {};
  if (keep_last == 0) {
    trim_slot(slot, keep_first);
    return {};
  }
  const std::int64_t length = keep_first + keep_last, removed = old.length - length;
  if (Status status = check_eviction(keep_first, removed); !status.ok()) return status;
  const std::int64_t first_page = keep_first / page_size_, end_page = pages_of(length);
  // Pages whose tokens move together are not copied.
  const bool by_pages = paged() && removed % page_size_ == 0;
  const auto moves_whole = [&](std::int64_t p) { return by_pages && p * page_size_ >= keep_first; };
  const std::int64_t end_copied = by_pages ? std::min(length, pages_of(keep_first) * page_size_) : length;
  std::int64_t needed = 0;
  for (std::int64_t p = first_page; p < end_page; ++p)
    needed += !moves_whole(p) && pages_.shared(page(slot, p)) ? 1 : 0;
  if (needed > pages_.free())
    return resource_exhausted("the eviction needs ", needed, " pages, since others use those that it would write, and ",
                              pages_.free(), " of ", page_count_, " are free");
  std::vector<std::int32_t> pages(index(end_page - first_page));
  std::vector<bool> taken(index(pages_of(old.length)), false);  // old pages that the sequence keeps
  reserve_copies(needed * copies_of_page());
  if (on_device()) moves_.reserve(moves_.size() + pages.size() / kPagesOfMove + 1);
  renumber_kept(slot, old, keep_first, removed);
  ++copy_step_;
  for (std::int64_t p = first_page; p < end_page; ++p) {
    std::int32_t& next = pages[index(p - first_page)];
    if (moves_whole(p)) {
      next = page(slot, p + removed / page_size_);
      taken[index(p + removed / page_size_)] = true;
      continue;
    }
    const std::int64_t begin = std::max(keep_first, p * page_size_), end = std::min(length, (p + 1) * page_size_);
    next = page(slot, p);
    if (pages_.shared(next)) {
      next = pages_.take();
      copy_page(page(slot, p), next, begin - p * page_size_);
    } else {
      taken[index(p)] = true;
    }
    if (!on_device()) move_tokens(slot, next, begin, end, removed);
  }
  if (on_device()) note_moves(slot, pages, keep_first, end_copied, removed);
  for (std::int64_t p = first_page; p < pages_of(old.length); ++p) {
    if (!taken[index(p)]) pages_.release(page(slot, p));
    page(slot, p) = p < end_page ? pages[index(p - first_page)] : -1;
  }
  State& state = states_[index(slot)];
  state.length = length;
  if (old.kept_begin > keep_first) state.kept_begin = std::max(old.kept_begin, keep_first + removed) - removed;
  return {};
}

}  // namespace octavo::kv_cache
