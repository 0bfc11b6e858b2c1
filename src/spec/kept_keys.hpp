// Kept keys: the keys of a query row that are computed exactly, apart from the quantized product (Recipe::keep_first,
// keep_near, keep_heavy). Attention's mass lies on few keys: the first one (a sink), the row's neighbours, and a few
// keys that every row of a query block looks at. The set of a row is the union of
//   first   keys 0..first-1
//   near    whole strips of 16 keys around the row's diagonal key d: causal 16 (floor(d / 16) - near + 1) .. d, else
//           the strips floor(d / 16) - near + 1 .. floor(d / 16) + after; none in cross-attention (not causal, no
//           window, another number of queries than of keys)
//   heavy   the keys of the row's query block with the largest smooth_q correction plus, under the fold, the logarithm
//           of their V's scale: what the block's mean query expects to weigh most; the lower key first among equals
// cut to the keys that the row sees. How many of each kind a sequence has follows its length: kept_keys_of().
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "octavo/recipe.hpp"
#include "spec/granularity.hpp"
#include "spec/visibility.hpp"

namespace octavo::spec {

constexpr std::int64_t kNearStrip = 16;      // keys of a strip
constexpr std::int64_t kMostKeptFirst = 16;  // largest values of the recipe's fields
constexpr std::int64_t kMostKeptNear = 4;
constexpr std::int64_t kMostKeptHeavy = 32;
constexpr std::int64_t kHeavyQueryRows = 16;  // a sequence of fewer query rows has no heavy keys

// A sequence of at most this many query rows and keys keeps every key where the recipe keeps near ones: quantizing and
// packing so few rows takes longer than their exact product.
constexpr std::int64_t kAllKeptRows = 128;

// Steps by the number of keys that the middle row of the sequence sees, so that the exact part stays below about a
// tenth of the call's time.
constexpr std::int64_t kBothSidesFrom = 2048;  // not causal, below: the row's own strip and the one before it
constexpr std::int64_t kFullListFrom = 512;    // below: at most kShortList first and heavy keys together
constexpr std::int64_t kShortList = 8;
constexpr std::int64_t kListStep = 16;  // more than 16 first and heavy keys are cut to a multiple: whole vectors

// How many keys of each kind the rows of one sequence keep.
struct KeptKeys {
  std::int64_t first = 0;
  std::int64_t near = 0;  // strips up to the row's own, which is included
  std::int64_t heavy = 0;
  std::int64_t after = 0;  // strips behind the row's own; causal: none
  bool all = false;        // every key that a row sees is a near one

  friend constexpr bool operator==(const KeptKeys&, const KeptKeys&) = default;
};
OCTAVO_INLINE constexpr bool keeps_any(const KeptKeys& kept) {
  return kept.first > 0 || kept.near > 0 || kept.heavy > 0 || kept.all;
}

// Rows and keys of a sequence, and what positions hide.
struct PositionMask {
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;
  std::int64_t queries = 0, keys = 0;
};
OCTAVO_INLINE constexpr KeyRange visible_keys(const PositionMask& mask, std::int64_t row) {
  return visible_keys(mask.causal, mask.window_left, mask.window_right, mask.queries, mask.keys, row);
}

OCTAVO_INLINE constexpr bool is_short(std::int64_t queries, std::int64_t keys) {
  return queries <= kAllKeptRows && keys <= kAllKeptRows;
}
OCTAVO_INLINE constexpr bool keeps_all(const Recipe& recipe, std::int64_t queries, std::int64_t keys) {
  return recipe.keep_near > 0 && is_short(queries, keys);
}

// From shapes alone: the same on every processor. The measure of the work is the number of keys that the middle row of
// the sequence sees.
OCTAVO_INLINE constexpr KeptKeys kept_keys_of(const Recipe& recipe, const PositionMask& mask) {
  if (keeps_all(recipe, mask.queries, mask.keys)) return {.all = true};
  KeptKeys kept{recipe.keep_first, recipe.keep_near, recipe.keep_heavy};
  const bool causal = mask.causal != Causal::none;
  if (!causal && mask.queries != mask.keys && mask.window_left < 0 && mask.window_right < 0) kept.near = 0;
  const KeyRange middle = visible_keys(mask, mask.queries / 2);
  const std::int64_t seen = middle.end - middle.begin;
  if (!causal && kept.near > 0) kept.after = kept.near - 1;
  if (!causal && kept.near > 1 && seen < kBothSidesFrom) kept.near = 2, kept.after = 0;
  if (!recipe.smooth_q || mask.queries < kHeavyQueryRows) kept.heavy = 0;
  std::int64_t listed = kept.first + kept.heavy;
  if (seen < kFullListFrom && listed > kShortList) listed = kShortList;
  if (listed > kListStep) listed -= listed % kListStep;
  if (kept.heavy > 0) kept.heavy = listed > kept.first ? listed - kept.first : 0;
  return kept;
}

// The most columns that the kept keys of a query block take: the near ones side by side, then the list of the others,
// both padded to 16.
OCTAVO_INLINE constexpr std::int64_t most_kept_columns(std::int64_t near) {
  const std::int64_t of_span = near == 0 ? 0 : kQueryBlock + (2 * near + 1) * kNearStrip;
  return of_span + kMostKeptFirst + kMostKeptHeavy + 2 * 16;
}

OCTAVO_INLINE constexpr std::int64_t strip_of(std::int64_t key) {
  return (key >= 0 ? key : key - kNearStrip + 1) / kNearStrip;
}

// The strip of a row's diagonal key. Rows of one strip keep the same near keys as far as they see them.
OCTAVO_INLINE constexpr std::int64_t near_strip(const PositionMask& mask, std::int64_t row) {
  return strip_of(diagonal(mask.causal, mask.queries, mask.keys, row));
}

// The near keys of a row, cut to what it sees; empty: none.
OCTAVO_INLINE constexpr KeyRange near_keys(const KeptKeys& kept, const PositionMask& mask, std::int64_t row) {
  const KeyRange seen = visible_keys(mask, row);
  if (kept.all) return seen;
  if (kept.near == 0) return {0, 0};
  const std::int64_t centre = diagonal(mask.causal, mask.queries, mask.keys, row), strip = near_strip(mask, row);
  const std::int64_t begin = (strip - kept.near + 1) * kNearStrip;
  const std::int64_t end = mask.causal != Causal::none ? centre + 1 : (strip + kept.after + 1) * kNearStrip;
  const KeyRange range{begin > seen.begin ? begin : seen.begin, end < seen.end ? end : seen.end};
  return range.begin < range.end ? range : KeyRange{0, 0};
}

// Keys that may be heavy for the query block of rows first_row..last_row-1: those that some of its rows see by
// position, behind the first ones; causal: before the diagonal of the block's first row.
OCTAVO_INLINE constexpr KeyRange heavy_candidates(const KeptKeys& kept, const PositionMask& mask,
                                                  std::int64_t first_row, std::int64_t last_row) {
  KeyRange range = visible_keys_of_rows(mask.causal, mask.window_left, mask.window_right, mask.queries, mask.keys,
                                        first_row, last_row);
  const std::int64_t centre = diagonal(mask.causal, mask.queries, mask.keys, first_row);
  if (range.begin < kept.first) range.begin = kept.first;
  if (mask.causal != Causal::none && centre < range.end) range.end = centre;
  return kept.heavy > 0 && range.begin < range.end ? range : KeyRange{0, 0};
}

}  // namespace octavo::spec
