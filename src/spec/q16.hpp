// When Q is taken in 16 bits. Decode is bound by memory, so a second integer product is free there, and a mean over a
// handful of rows would be the rows themselves: recipes that smooth Q under per-token scales do neither smoothing nor
// 8 bits below 16 query rows. A caller's codes are used unchanged, and quantize() always makes 8-bit codes
// with the block means.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "octavo/recipe.hpp"

namespace octavo::spec {

constexpr std::int64_t kQ16Rows = 16;

// `rows`: query rows of the sequence.
OCTAVO_INLINE constexpr bool is_q16(const Recipe& recipe, std::int64_t rows) {
  return rows < kQ16Rows && recipe.smooth_q && recipe.q_scale == Granularity::token &&
         (recipe.scores == Format::s8 || recipe.scores == Format::s4);
}

}  // namespace octavo::spec
