// ALiBi adds slope * distance to the scores of a row. The distance of a key is key - diagonal, symmetric:
// -|key - diagonal|. Kernels count it from its peak, the visible key where the term is largest, so that the f32 terms
// are exact where they matter; slope * (distance of the peak) returns in the LSE and where the row is compared with a
// sink.
#pragma once

#include "core/inline.hpp"
#include "octavo/attention.hpp"

namespace octavo::spec {

template <class Int>
OCTAVO_INLINE constexpr Int alibi_distance(Alibi alibi, Int key, Int diagonal) {
  const Int distance = key - diagonal;
  return alibi == Alibi::symmetric && distance > 0 ? -distance : distance;
}

// The distance of the peak of the visible keys begin..end-1.
template <class Int>
OCTAVO_INLINE constexpr Int alibi_peak(Alibi alibi, float slope, Int begin, Int end, Int diagonal) {
  const Int first = alibi_distance(alibi, begin, diagonal), last = alibi_distance(alibi, end - 1, diagonal);
  if (slope < 0) return first < last ? first : last;
  if (alibi == Alibi::symmetric && begin <= diagonal && diagonal < end) return 0;
  return first < last ? last : first;
}

}  // namespace octavo::spec
