// Visibility by position: causal diagonals, windows and lengths.
#pragma once

#include <cstdint>

#include "core/problem.hpp"
#include "cpu/simd/policy.hpp"
#include "spec/kept_keys.hpp"
#include "spec/visibility.hpp"

namespace octavo::cpu {
namespace {

// Sets the scores of keys outside each row's range to -infinity and recomputes the maxima. Needed for blocks on a
// diagonal or at the edge of a window.
template <class S>
OCTAVO_INLINE void mask_by_position(const Problem& problem, const Sequence& sequence, std::int64_t row, int rows,
                                    std::int64_t first_key, std::int64_t keys, std::int64_t ld, float* scores,
                                    float* row_max) {
  for (int i = 0; i < rows; ++i) {
    const spec::KeyRange seen = spec::visible_keys(problem.causal, problem.window_left, problem.window_right,
                                                   sequence.q_rows, sequence.k_rows, row + i);
    const auto begin = S::set1(static_cast<float>(seen.begin - first_key > -1 ? seen.begin - first_key : -1));
    const auto end = S::set1(static_cast<float>(seen.end - first_key < keys ? seen.end - first_key : keys));
    auto best = S::set1(-__builtin_inff());
    for (std::int64_t j = 0; j < keys; j += S::kLanes) {
      const auto index = S::add(S::lane_index(), S::set1(static_cast<float>(j)));
      auto x = S::load(scores + i * ld + j);
      x = S::select(S::less(index, end), S::select(S::less(index, begin), S::set1(-__builtin_inff()), x),
                    S::set1(-__builtin_inff()));
      S::store(scores + i * ld + j, x);
      best = S::max(x, best);
    }
    row_max[i] = S::reduce_max(best);
  }
}

// A row whose q holds a NaN has NaN scores everywhere: keys that do not exist (an addend of -infinity) stay hidden.
template <class S>
OCTAVO_INLINE void mask_nan_rows(const float* row_factor, const float* key_addend, int rows, std::int64_t keys,
                                 std::int64_t ld, float* scores, float* row_max) {
  const auto nothing = S::set1(-__builtin_inff());
  for (int i = 0; i < rows; ++i) {
    if (row_factor[i] == row_factor[i]) continue;
    bool any = false;
    for (std::int64_t j = 0; j < keys; j += S::kLanes) {
      const auto hidden = S::equal(S::load(key_addend + j), nothing);
      S::store(scores + i * ld + j, S::select(hidden, nothing, S::load(scores + i * ld + j)));
    }
    for (std::int64_t j = 0; j < keys; ++j) any = any || scores[i * ld + j] != -__builtin_inff();
    row_max[i] = any ? __builtin_nanf("") : -__builtin_inff();
  }
}

// The addends of a block's keys for a group of rows that all keep the same ones: the kept ones are hidden before the
// product's maxima are taken. Near ones, and the first `first` keys, where no addend of the query block hides them.
// `buffer` [keys] holds the result where it differs.
OCTAVO_INLINE const float* hide_kept_keys(const float* addend, std::int64_t first, spec::KeyRange near,
                                          std::int64_t first_key, std::int64_t keys, float* buffer) {
  const auto in_block = [&](std::int64_t key) {
    const std::int64_t at = key - first_key;
    return at < 0 ? 0 : at < keys ? at : keys;
  };
  const std::int64_t begin = in_block(near.begin), end = in_block(near.end), after_first = in_block(first);
  if (begin >= end && after_first == 0) return addend;
  std::memcpy(buffer, addend, static_cast<std::size_t>(keys) * 4);
  for (std::int64_t j = begin; j < end; ++j) buffer[j] = -__builtin_inff();
  for (std::int64_t j = 0; j < after_first; ++j) buffer[j] = -__builtin_inff();
  return buffer;
}

// The same row by row, in the scores, where rows keep different ones; recomputes the maxima.
template <class S>
OCTAVO_INLINE void mask_kept_keys(const spec::KeptKeys& kept, const spec::PositionMask& mask, std::int64_t first,
                                  std::int64_t row, int rows, std::int64_t first_key, std::int64_t keys,
                                  std::int64_t ld, float* scores, float* row_max) {
  const auto nothing = S::set1(-__builtin_inff());
  const auto in_block = [&](std::int64_t key) {
    const std::int64_t at = key - first_key;
    return at < 0 ? 0 : at < keys ? at : keys;
  };
  const std::int64_t after_first = in_block(first);
  for (int i = 0; i < rows; ++i) {
    const spec::KeyRange near = spec::near_keys(kept, mask, row + i);
    const std::int64_t begin = in_block(near.begin), end = in_block(near.end);
    float* of_row = scores + i * ld;
    const auto hide = [&](std::int64_t from, std::int64_t to) {
      const auto low = S::set1(static_cast<float>(from)), high = S::set1(static_cast<float>(to));
      for (std::int64_t j = from / S::kLanes * S::kLanes; j < to; j += S::kLanes) {
        const auto index = S::add(S::lane_index(), S::set1(static_cast<float>(j)));
        const auto x = S::load(of_row + j);
        S::store(of_row + j, S::select(S::less(index, low), x, S::select(S::less(index, high), nothing, x)));
      }
    };
    hide(begin, end);
    hide(0, after_first);
    auto best = nothing;
    for (std::int64_t j = 0; j < keys; j += S::kLanes) best = S::max(S::load(of_row + j), best);
    row_max[i] = S::reduce_max(best);
  }
}

}  // namespace
}  // namespace octavo::cpu
