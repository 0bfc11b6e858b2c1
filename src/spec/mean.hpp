// The mean over tokens, one channel: f32 sums of 128-row blocks, rows ascending; the block sums added, ascending; then
// one division by the number of finite values. NaN, infinity and rows that do not count (hidden keys, stray rows) are
// left out; no finite value, or a sum that overflows: 0 (any fixed vector serves as the mean).
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "core/inline.hpp"

namespace octavo::spec {

constexpr std::int64_t kMeanBlock = 128;

// sum / count at the end of the sums.
OCTAVO_INLINE constexpr float mean_of(float sum, std::int64_t count) {
  const float mean = count == 0 ? 0.0f : sum / static_cast<float>(count);
  return is_finite(mean) ? mean : 0.0f;
}

// Mean of x[0], x[stride], ..., `rows` values, of the rows that counts(row) takes.
template <class Counts>
OCTAVO_INLINE constexpr float column_mean(const float* x, std::int64_t rows, std::int64_t stride,
                                          const Counts& counts) {
  float sum = 0.0f;
  std::int64_t count = 0;
  for (std::int64_t block = 0; block < rows; block += kMeanBlock) {
    float block_sum = 0.0f;
    for (std::int64_t row = block; row < rows && row < block + kMeanBlock; ++row) {
      const float value = x[row * stride];
      if (is_finite(value) && counts(row)) {
        block_sum += value;
        ++count;
      }
    }
    sum += block_sum;
  }
  return mean_of(sum, count);
}
OCTAVO_INLINE constexpr float column_mean(const float* x, std::int64_t rows, std::int64_t stride) {
  return column_mean(x, rows, stride, [](std::int64_t) { return true; });
}

}  // namespace octavo::spec
