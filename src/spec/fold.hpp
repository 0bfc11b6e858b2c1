// The fold: V's per-token scale s_j absorbed into the weights. s~_j = max(s_j / s_max, 2^-60), b_j = log2 s~_j is added
// to the base-2 score, 1 / s~_j takes it out of the row sum, and s_max comes back at the end.
#pragma once

#include "core/float_types.hpp"
#include "core/inline.hpp"

namespace octavo::spec {

constexpr double kFoldFloor = 0x1p-60;

// A token's scale as the fold takes it. A negative or infinite scale has no finite logarithm: it becomes NaN, and so do
// the rows that see the token.
template <class T>
OCTAVO_INLINE constexpr T scale_to_fold(T scale) {
  return scale >= T(0) && scale - scale == T(0) ? scale : static_cast<T>(f32_of_bits(0x7fc00000u));
}

// s~ of a token; a NaN scale stays NaN. T is float or double; s_max > 0.
template <class T>
OCTAVO_INLINE constexpr T folded_scale(T scale, T largest) {
  const T relative = scale / largest;
  return relative < static_cast<T>(kFoldFloor) ? static_cast<T>(kFoldFloor) : relative;
}

// s_max: the largest scale of the sequence and KV head, NaN left out; 1 where all are zero.
template <class T>
OCTAVO_INLINE constexpr T grow_largest_scale(T largest, T scale) {
  return scale > largest ? scale : largest;
}
// s_max with stray tokens (spec/stray_rows.hpp) left out: their s~ exceeds 1. It is bounded because weights end at
// 2^-126: a key without weight counts 2^-126 / 2^-60 in the row sum, which must vanish beside 2^-40.
constexpr double kLargestFoldedScale = 0x1p40;
template <class T>
OCTAVO_INLINE constexpr T bounded_largest_scale(T largest_of_others, T largest) {
  const T least = largest / static_cast<T>(kLargestFoldedScale);
  return largest_of_others > least ? largest_of_others : least;
}
template <class T>
OCTAVO_INLINE constexpr T largest_scale_or_one(T largest) {
  return largest > T(0) ? largest : T(1);
}

// What the CPU kernels take in place of s_max, which cancels: the power of two not above it. Scores of a part of the
// keys and of all keys then differ by an integer, with which the error of the polynomial of 2^x does not change: both
// have the same codes. (s~ is below 2 then, not at most 1.)
OCTAVO_INLINE constexpr float power_of_two_scale(float largest) {
  const float power = f32_of_bits(bits_of_f32(largest) & 0x7f800000u);
  return power > 0x1p-126f ? power : 0x1p-126f;
}

}  // namespace octavo::spec
