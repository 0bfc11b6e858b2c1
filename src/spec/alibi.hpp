// ALiBi adds slope * (key - diagonal) to the scores of a row. Kernels count it from its peak, the visible key where it
// is largest, so that the f32 terms are exact where they matter; slope * (peak - diagonal) returns in the LSE and where
// the row is compared with a sink.
#pragma once

#include "core/inline.hpp"

namespace octavo::spec {

// Of the visible keys begin..end-1.
template <class Int>
OCTAVO_INLINE constexpr Int alibi_peak(float slope, Int begin, Int end) {
  return slope >= 0 ? end - 1 : begin;
}

// The term at the peak, in the units of the slope.
template <class Peak, class Diagonal>
OCTAVO_INLINE constexpr float alibi_at_peak(float slope, Peak peak, Diagonal diagonal) {
  return slope * static_cast<float>(peak - diagonal);
}

}  // namespace octavo::spec
