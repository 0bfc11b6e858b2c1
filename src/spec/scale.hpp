// How a group of numbers becomes codes and one scale: the f32 quantizer, the same bits on every processor.
//   amax over the finite values; a = max(amax, R * FLT_MIN); scale = a / R; code = clamp(rhe(x * (R / a)), -R, R)
//   amax = 0: scale 1 (0 for a token of V), codes 0. A group that holds a NaN or an infinity: scale NaN.
// R is 127 (s8), 7 (s4), 32639 (16-bit Q), 448 (E4M3) or 57344 (E5M2); rhe rounds half to even. The integer code of a
// NaN or infinity is 0, the float code 0x7f: with a NaN for a scale it never matters, and every processor hands out the
// same bytes, though the sign of a computed NaN differs between them.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "core/inline.hpp"

namespace octavo::spec {

constexpr float kRangeS8 = 127.0f;
constexpr float kRangeS4 = 7.0f;
constexpr float kRangeE4m3 = 448.0f;
constexpr float kRangeE5m2 = 57344.0f;
constexpr float kRangeQ16 = 32639.0f;  // 16-bit Q: 127 * 256 + 127, so that both bytes stay within +-127.. -128

// Largest finite magnitude so far; NaN and infinity do not count.
OCTAVO_INLINE constexpr float grow_amax(float amax, float x) {
  const float magnitude = f32_of_bits(bits_of_f32(x) & 0x7fffffffu);
  return is_finite(x) && magnitude > amax ? magnitude : amax;
}

struct Scale {
  float scale;    // x ~ code * scale
  float inverse;  // code ~ x * inverse
};

OCTAVO_INLINE constexpr Scale scale_of(float amax, float range, float scale_of_zero = 1.0f) {
  constexpr float kSmallestNormal = 0x1p-126f;
  if (amax == 0.0f) return {scale_of_zero, 0.0f};
  const float floor = range * kSmallestNormal;
  const float a = amax > floor ? amax : floor;
  return {a / range, range / a};
}

// Round half to even for |x| <= 2^22: the sum's unit in the last place is 1.
OCTAVO_INLINE constexpr float round_half_even(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return (x + kMagic) - kMagic;
}

// Code of x in -range..range (an integer up to 2^22); 0 for NaN and infinity.
OCTAVO_INLINE constexpr std::int32_t integer_code(float x, float inverse, float range) {
  if (!is_finite(x)) return 0;
  const float scaled = x * inverse;
  const float clamped = scaled < -range ? -range : scaled > range ? range : scaled;
  return static_cast<std::int32_t>(round_half_even(clamped));
}

OCTAVO_INLINE constexpr std::uint8_t e4m3_code(float x, float inverse) {
  return is_finite(x) ? f32_to_e4m3(x * inverse) : std::uint8_t{0x7f};
}
OCTAVO_INLINE constexpr std::uint8_t e5m2_code(float x, float inverse) {
  return is_finite(x) ? f32_to_e5m2(x * inverse) : std::uint8_t{0x7f};
}

// A 16-bit code as two s8 planes: code = 256 * high + low.
struct Q16Code {
  std::int32_t high, low;
};
OCTAVO_INLINE constexpr Q16Code split_q16(std::int32_t code) {
  const std::int32_t high = (code + 128) >> 8;
  return {high, code - 256 * high};
}

// f16 values: the power of two by which V is divided so that its amax lies in [256, 512). 1 for amax = 0; tiny amax
// keep a divisor that f32 and its inverse can hold.
OCTAVO_INLINE constexpr float f16_value_divisor(float amax) {
  if (amax == 0.0f) return 1.0f;
  std::int32_t exponent = static_cast<std::int32_t>(bits_of_f32(amax) >> 23) - 127;
  if (exponent < -118) exponent = -118;
  return f32_of_bits(static_cast<std::uint32_t>(exponent - 8 + 127) << 23);
}

}  // namespace octavo::spec
