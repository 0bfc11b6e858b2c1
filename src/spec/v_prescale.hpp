// V near the largest f32: the power of two by which it is multiplied before anything is summed. A rotation's
// butterflies, a mean and O's unnormalised sum (N * 2^8 * amax, with a stale maximum) must stay finite; the finished
// row of O is divided by it again, saturating.
//   unit = 1 below 2^80, else the power of two that brings amax into [2^79, 2^80)
#pragma once

#include "core/float_types.hpp"
#include "core/inline.hpp"
#include "octavo/recipe.hpp"

namespace octavo::spec {

// Room for 2^47 times that: 2^26 keys, a maximum stale by 2^8, butterflies of 512 channels.
constexpr float kLargestPlainValue = 0x1p80f;

// Formats without a scale saturate where they always do.
OCTAVO_INLINE constexpr bool takes_v_prescale(const Recipe& recipe) {
  return recipe.values == Format::input || recipe.values == Format::f16 || recipe.v_scale != Granularity::none;
}

// `amax`: the largest finite magnitude among the values of a sequence and KV head.
OCTAVO_INLINE constexpr float v_prescale(float amax) {
  if (amax < kLargestPlainValue) return 1.0f;
  const std::uint32_t exponent = bits_of_f32(amax) >> 23;  // 127 + log2, 207..254
  return f32_of_bits((127 + 79 + 127 - exponent) << 23);
}

}  // namespace octavo::spec
