// The bit patterns of f16, bf16, E4M3 and E5M2, one scalar at a time: to f32 exactly, from f32 to nearest even.
// e4m3 is the "fn" kind: no infinity, largest value 448 (S.1111.110), NaN S.1111.111. e5m2 is IEEE-like, largest 57344.
// To the 8-bit formats finite values saturate to finite ones and infinity becomes NaN.
#pragma once

#include <cstdint>

#include "core/inline.hpp"

namespace octavo {

OCTAVO_INLINE constexpr std::uint32_t bits_of_f32(float x) { return __builtin_bit_cast(std::uint32_t, x); }
OCTAVO_INLINE constexpr float f32_of_bits(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

// Neither NaN nor infinity.
OCTAVO_INLINE constexpr bool is_finite(float x) { return (bits_of_f32(x) & 0x7f800000u) != 0x7f800000u; }

OCTAVO_INLINE constexpr float bf16_to_f32(std::uint16_t x) { return f32_of_bits(static_cast<std::uint32_t>(x) << 16); }

OCTAVO_INLINE constexpr std::uint16_t f32_to_bf16(float x) {
  const std::uint32_t bits = bits_of_f32(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x0040u);  // quiet NaN
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// A small float of `exponent_bits` and `mantissa_bits` (sign in the top bit), IEEE rules, as f32.
template <int exponent_bits, int mantissa_bits>
OCTAVO_INLINE constexpr float small_float_to_f32(std::uint32_t x) {
  constexpr int kBias = (1 << (exponent_bits - 1)) - 1;
  constexpr std::uint32_t kTop = (1u << exponent_bits) - 1;
  const std::uint32_t sign = (x >> (exponent_bits + mantissa_bits)) << 31;
  const std::uint32_t exponent = (x >> mantissa_bits) & kTop;
  const std::uint32_t mantissa = x & ((1u << mantissa_bits) - 1);
  if (exponent == kTop) return f32_of_bits(sign | 0x7f800000u | (mantissa << (23 - mantissa_bits)));
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^(1 - bias - mantissa_bits), exact in f32
    const float unit = f32_of_bits(static_cast<std::uint32_t>(127 + 1 - kBias - mantissa_bits) << 23);
    return f32_of_bits(sign | bits_of_f32(static_cast<float>(mantissa) * unit));
  }
  return f32_of_bits(sign | ((exponent + 127 - kBias) << 23) | (mantissa << (23 - mantissa_bits)));
}

// The code of |x| (finite, sign apart) in such a format, rounded to nearest even. Values beyond the format carry on
// into the codes above its largest number; the caller decides what those mean.
template <int exponent_bits, int mantissa_bits>
OCTAVO_INLINE constexpr std::uint32_t magnitude_to_small_float(std::uint32_t magnitude) {
  constexpr int kBias = (1 << (exponent_bits - 1)) - 1;
  constexpr int kDrop = 23 - mantissa_bits;
  constexpr std::uint32_t kSmallestNormal = static_cast<std::uint32_t>(127 + 1 - kBias) << 23;
  if (magnitude < kSmallestNormal) {
    // Adding 2^23 units of the last place lets the f32 adder round: the sum's low bits are the code.
    constexpr std::uint32_t kMagic = static_cast<std::uint32_t>(127 + 1 - kBias - mantissa_bits + 23) << 23;
    return bits_of_f32(f32_of_bits(magnitude) + f32_of_bits(kMagic)) - kMagic;
  }
  const std::uint32_t even = (magnitude >> kDrop) & 1u;
  return (magnitude - (static_cast<std::uint32_t>(127 - kBias) << 23) + (1u << (kDrop - 1)) - 1u + even) >> kDrop;
}

OCTAVO_INLINE constexpr float f16_to_f32(std::uint16_t x) { return small_float_to_f32<5, 10>(x); }

// Too large becomes infinity, as IEEE has it.
OCTAVO_INLINE constexpr std::uint16_t f32_to_f16(float x) {
  const std::uint32_t bits = bits_of_f32(x);
  const std::uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // from 65520 on
  return static_cast<std::uint16_t>(sign | magnitude_to_small_float<5, 10>(magnitude));
}

// For outputs: a finite value stays finite.
OCTAVO_INLINE constexpr std::uint16_t f32_to_f16_saturating(float x) {
  const std::uint16_t code = f32_to_f16(x);
  return (code & 0x7fffu) == 0x7c00u && is_finite(x) ? static_cast<std::uint16_t>((code & 0x8000u) | 0x7bffu) : code;
}
OCTAVO_INLINE constexpr std::uint16_t f32_to_bf16_saturating(float x) {
  const std::uint16_t code = f32_to_bf16(x);
  return (code & 0x7fffu) == 0x7f80u && is_finite(x) ? static_cast<std::uint16_t>((code & 0x8000u) | 0x7f7fu) : code;
}

OCTAVO_INLINE constexpr float e4m3_to_f32(std::uint8_t x) {
  if ((x & 0x7fu) == 0x7fu) return f32_of_bits((static_cast<std::uint32_t>(x & 0x80u) << 24) | 0x7fc00000u);
  if ((x & 0x78u) == 0x78u) {  // the exponent that IEEE gives to infinities holds numbers here
    const float value = 256.0f * (1.0f + 0.125f * static_cast<float>(x & 7u));
    return (x & 0x80u) != 0 ? -value : value;
  }
  return small_float_to_f32<4, 3>(x);
}

OCTAVO_INLINE constexpr std::uint8_t f32_to_e4m3(float x) {
  const std::uint32_t bits = bits_of_f32(x);
  const std::uint32_t sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x7f800000u) return static_cast<std::uint8_t>(sign | 0x7fu);
  const std::uint32_t code = magnitude < 0x43e00000u ? magnitude_to_small_float<4, 3>(magnitude) : 0x7eu;  // from 448
  return static_cast<std::uint8_t>(sign | (code < 0x7eu ? code : 0x7eu));
}

OCTAVO_INLINE constexpr float e5m2_to_f32(std::uint8_t x) { return small_float_to_f32<5, 2>(x); }

OCTAVO_INLINE constexpr std::uint8_t f32_to_e5m2(float x) {
  const std::uint32_t bits = bits_of_f32(x);
  const std::uint32_t sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x7f800000u) return static_cast<std::uint8_t>(sign | 0x7fu);
  const std::uint32_t code = magnitude < 0x47600000u ? magnitude_to_small_float<5, 2>(magnitude) : 0x7bu;  // from 57344
  return static_cast<std::uint8_t>(sign | (code < 0x7bu ? code : 0x7bu));
}

}  // namespace octavo
