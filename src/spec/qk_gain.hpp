// Gains that balance the channels of Q and K (Recipe::qk_gains): K <- K g, Q <- Q (1 / g) before signs and rotation,
// per batch, KV head and channel d. Scores do not change; what a channel contributes to the rounding errors of Q and of
// K becomes equal.
//   g_d = sqrt(u_d / a_d), 1 where u_d or a_d is 0 or the quotient is no normal number
//   a_d = mean over blocks of 128 keys of max_j |K_jd - mean_d|, mean_d over the sequence
//   u_d = the largest over the group's query heads of the mean over blocks of 128 query rows of max_i |Q_id - m_d|, m_d
//         the mean over the block
// Only rows that count (seen keys, no stray rows) and finite values take part; a block without any is left out of the
// mean. A mean over blocks is the f32 sum in ascending order, divided by their number. Sequences of fewer than 16 query
// rows have gains of 1: a mean over a handful of rows would be the rows themselves.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/float_types.hpp"
#include "core/inline.hpp"

namespace octavo::spec {

constexpr std::int64_t kGainQueryRows = 16;

// The largest |x - mean| of a channel of one block, from the channel's extremes: subtraction is monotone, rounding
// included. Nothing finite (low > high): 0.
OCTAVO_INLINE constexpr float spread(float low, float high, float mean) {
  if (low > high) return 0.0f;
  const float below = mean - low, above = high - mean;
  return below > above ? below : above;
}

OCTAVO_INLINE float gain_of(float u, float a) {
  const float quotient = u > 0 && a > 0 ? u / a : 1.0f;
  return quotient >= 0x1p-126f && is_finite(quotient) ? __builtin_sqrtf(quotient) : 1.0f;
}

}  // namespace octavo::spec
