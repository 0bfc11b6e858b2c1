// K or V of a key-value cache as its oracle reads and writes it.
#pragma once

#include <algorithm>
#include <vector>

#include "core/cache_problem.hpp"
#include "core/float_types.hpp"
#include "spec/cache_layout.hpp"
#include "spec/scale.hpp"

namespace octavo::reference {

// K or V of a cache.
struct Side {
  const CacheView& cache;
  bool is_k;
  std::int64_t dim() const { return is_k ? cache.head_dim : cache.value_dim; }
  std::int64_t columns() const { return is_k ? cache.k_columns : cache.v_columns; }
  std::byte* data() const { return is_k ? cache.k : cache.v; }
  float* scales() const { return is_k ? cache.k_scale : cache.v_scale; }
  std::uint16_t* kept() const { return is_k ? cache.kept_k : cache.kept_v; }
  float* kept_units() const { return is_k ? cache.kept_k_unit : cache.kept_v_unit; }
  // Element of a token's row (its number in the arrays).
  std::int64_t element(std::int64_t row, std::int64_t channel) const {
    const std::int64_t token = row % kCacheStrip, strip = row - token;
    return strip * columns() + (is_k ? spec::cache_k_index(cache.format, token, channel)
                                     : spec::cache_v_index(cache.format, columns(), token, channel));
  }
};

inline float amax_of(const std::vector<float>& x) {
  float amax = 0;
  for (const float value : x) amax = spec::grow_amax(amax, value);
  return amax;
}
inline bool all_finite(const std::vector<float>& x) {
  return std::all_of(x.begin(), x.end(), [](float value) { return is_finite(value); });
}

}  // namespace octavo::reference
