// Which keys a query may see by position: causal diagonal, window, lengths. Masks are applied elsewhere.
// With M queries and N keys the diagonal of query i is key i + N - M (bottom right) or i (top left); a window counts
// from it: d - left <= j <= d + right, -1 = unlimited. Without causal the bottom-right diagonal counts.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "octavo/attention.hpp"

namespace octavo::spec {

// Keys begin..end-1; nothing is visible where begin == end (then both are 0).
struct KeyRange {
  std::int64_t begin = 0, end = 0;
};

OCTAVO_INLINE constexpr std::int64_t diagonal(Causal causal, std::int64_t queries, std::int64_t keys,
                                              std::int64_t row) {
  return causal == Causal::top_left ? row : row + keys - queries;
}

OCTAVO_INLINE constexpr KeyRange visible_keys(Causal causal, std::int64_t window_left, std::int64_t window_right,
                                              std::int64_t queries, std::int64_t keys, std::int64_t row) {
  const std::int64_t centre = diagonal(causal, queries, keys, row);
  // No distance between a query's diagonal and a key exceeds this; beyond it a window is unlimited (and would
  // overflow).
  const std::int64_t farthest = queries + keys;
  const std::int64_t right = causal != Causal::none ? 0 : window_right;
  KeyRange range{0, keys};
  if (window_left >= 0 && window_left < farthest && centre - window_left > 0) range.begin = centre - window_left;
  if (right >= 0 && right < farthest && centre + right + 1 < keys) range.end = centre + right + 1;
  return range.begin < range.end ? range : KeyRange{0, 0};
}

// The smallest range that holds the ranges of rows first..last-1. Both ends grow with the row, and an empty range at
// either end of the block adds nothing.
OCTAVO_INLINE constexpr KeyRange visible_keys_of_rows(Causal causal, std::int64_t window_left,
                                                      std::int64_t window_right, std::int64_t queries,
                                                      std::int64_t keys, std::int64_t first, std::int64_t last) {
  // Rows that see nothing lie before key 0 or behind key N-1; the block's others are between them.
  const std::int64_t farthest = queries + keys;
  const std::int64_t right = causal != Causal::none ? 0 : window_right;
  if (first >= last) return {0, 0};
  if (right >= 0 && right < farthest) {
    const std::int64_t blind = -right - diagonal(causal, queries, keys, first);  // rows whose range ends before key 0
    if (blind > 0) first += blind;
  }
  if (window_left >= 0 && window_left < farthest) {
    const std::int64_t beyond = diagonal(causal, queries, keys, last - 1) - window_left - (keys - 1);
    if (beyond > 0) last -= beyond;
  }
  if (first >= last) return {0, 0};
  const KeyRange low = visible_keys(causal, window_left, window_right, queries, keys, first);
  const KeyRange high = visible_keys(causal, window_left, window_right, queries, keys, last - 1);
  const KeyRange both{low.begin, high.end};
  return both.begin < both.end ? both : KeyRange{0, 0};
}

}  // namespace octavo::spec
