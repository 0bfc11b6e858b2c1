// V's centre under the fold (Recipe::smooth_v with v_scale=token_folded): the mean over tokens weighted by 1 / |v|^2,
// so that it follows the small tokens, whose scale the subtraction would enlarge (a sink with a tiny value), and no
// stray token moves it. |v| is the token's largest magnitude. Taken from the values as given, then rotated with them:
//   centre_d = (sum_j w_j V_jd) / (sum_j w_j),  w_j = 1 / (max(|v_j|, 2^-40))^2, 0 above 2^60 or where the token holds
//   a NaN or an infinity
// f32; sums of blocks of 128 tokens, ascending, each product rounded before it is added; then the block sums,
// ascending. A centre that is not finite is 0.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "core/inline.hpp"

namespace octavo::spec {

OCTAVO_INLINE constexpr float centre_weight(float amax, bool finite) {
  if (!finite || amax > 0x1p60f) return 0.0f;
  const float a = amax > 0x1p-40f ? amax : 0x1p-40f;
  return 1.0f / (a * a);
}

OCTAVO_INLINE constexpr float centre_of(float weighted_sum, float weights) {
  const float centre = weights > 0 ? weighted_sum / weights : 0.0f;
  return is_finite(centre) ? centre : 0.0f;
}

}  // namespace octavo::spec
