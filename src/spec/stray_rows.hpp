// Stray rows: rows so much larger than the others that a statistic over all rows would be theirs (Recipe::robust). They
// keep their own codes; they only take no part in means, gains and the fold's s_max.
//   A row's magnitude is the exponent of its largest finite element. The typical exponent of a set of rows is their
//   lower quartile: the smallest e with 4 * (rows of exponent <= e) >= rows; rows of zeros are not counted. A row is
//   stray if its exponent exceeds the typical one by more than 3: always from 16 times as large on, never below 8
//   times.
// Exponents instead of values: a histogram of 255 counts needs no sorting and is the same on every processor.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "core/inline.hpp"

namespace octavo::spec {

constexpr std::uint32_t kStrayExponents = 3;
constexpr std::uint32_t kAnyExponent = 255;  // a limit that no row exceeds

// 0 for zero and for numbers below the normal ones.
OCTAVO_INLINE constexpr std::uint32_t exponent_of(float magnitude) { return bits_of_f32(magnitude) >> 23 & 0xffu; }

struct ExponentHistogram {
  std::int32_t count[256] = {};
  std::int64_t rows = 0;
};

// `amax`: the row's largest finite magnitude, >= 0.
OCTAVO_INLINE constexpr void add_row(ExponentHistogram& histogram, float amax) {
  if (!(amax > 0)) return;
  ++histogram.count[exponent_of(amax)];
  ++histogram.rows;
}

// The largest exponent of a row that is not stray.
OCTAVO_INLINE constexpr std::uint32_t exponent_limit(const ExponentHistogram& histogram) {
  std::int64_t below = 0;
  for (std::uint32_t e = 0; e < 255; ++e) {
    below += histogram.count[e];
    if (histogram.rows > 0 && 4 * below >= histogram.rows) return e + kStrayExponents;
  }
  return kAnyExponent;
}

OCTAVO_INLINE constexpr bool is_stray(float amax, std::uint32_t limit) { return exponent_of(amax) > limit; }

}  // namespace octavo::spec
