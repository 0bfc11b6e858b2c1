// How a tensor core adds up products of floats: the accumulator and all products of one step are brought to the largest
// exponent among them, cut towards zero at f fractional bits and added exactly; the sum is cut towards zero to an f32,
// or to 13 bits of its mantissa. A long dot product goes through steps of a few elements, each one's result the next
// one's accumulator:
//   c <- cut(sum_i trunc(a_i b_i, 2^(e - f)) + trunc(c, 2^(e - f))),  e = max(e_c, max_i (e_ai + e_bi))
// Sums in f16 are rounded, half to even, after every step. An exponent is that of the encoding: a subnormal has its
// format's smallest, a product of 1.x by 1.x is not normalized. Facts: MMA-Sim (arXiv 2511.10909), which checked them
// against the hardware. Sums of integer products are exact there and need no model.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "core/inline.hpp"
#include "octavo/recipe.hpp"

namespace octavo::spec {

// A number of at most 10 fractional bits: value = significand * 2^(exponent - 10).
struct Factor {
  std::int32_t significand;  // 1024..2047 and their negatives; less for a subnormal
  std::int32_t exponent;
};

constexpr std::int32_t kFactorBits = 10;
constexpr std::int32_t kZeroExponent = -(1 << 20);    // of 0: never the largest
constexpr std::int32_t kInfinityExponent = 1 << 20;   // significand: its sign; 0: NaN
constexpr std::int32_t kAbsentExponent = -(1 << 24);  // of what has no part in the sum, even beside an infinity
constexpr Factor kAbsentFactor{0, kAbsentExponent};

// Smallest exponents of the formats' normal numbers.
constexpr std::int32_t kSmallestExponentE4m3 = -6;
constexpr std::int32_t kSmallestExponentE5m2 = -14;
constexpr std::int32_t kSmallestExponentF16 = -14;
constexpr std::int32_t kSmallestExponentBf16 = -126;

// `x` is a number of a format with that smallest exponent and at most 10 fractional bits.
OCTAVO_INLINE constexpr Factor factor_of(float x, std::int32_t smallest_exponent) {
  const std::uint32_t bits = bits_of_f32(x), magnitude = bits & 0x7fffffffu;
  const std::int32_t sign = (bits >> 31) != 0 ? -1 : 1;
  if (magnitude == 0) return {0, kZeroExponent};
  if (magnitude >= 0x7f800000u) return {magnitude == 0x7f800000u ? sign : 0, kInfinityExponent};
  const bool subnormal = magnitude < 0x00800000u;  // of f32: bf16's
  std::int32_t exponent = subnormal ? -126 : static_cast<std::int32_t>(magnitude >> 23) - 127;
  std::int32_t significand =
      static_cast<std::int32_t>(((magnitude & 0x007fffffu) | (subnormal ? 0u : 0x00800000u)) >> (23 - kFactorBits));
  if (exponent < smallest_exponent) {
    significand >>= smallest_exponent - exponent;  // exact: a subnormal of its format
    exponent = smallest_exponent;
  }
  return {sign * significand, exponent};
}

// One kind of product of one machine.
struct DotModel {
  std::int32_t fraction_bits;  // f
  std::int32_t mantissa_bits;  // of the result, 23 or 13
  std::int32_t step;           // elements of one sum
  bool f16_sum = false;        // the result is rounded to f16 instead of cut
};

// Products of FP8 (`float8`) or 16-bit operands. An instruction of 32 FP8 or 16 16-bit elements goes in two halves on
// sm_80 and sm_89. sm_80 has no FP8.
OCTAVO_INLINE constexpr DotModel dot_law(Accumulator machine, bool float8, bool f16_sum = false) {
  switch (machine) {
    case Accumulator::sm80:
      return {24, 23, 8, f16_sum};
    case Accumulator::sm89:
      return float8 ? DotModel{13, 13, 16, f16_sum} : DotModel{24, 23, 8, f16_sum};
    case Accumulator::sm90:
      return float8 ? DotModel{13, 13, 32, f16_sum} : DotModel{25, 23, 16, f16_sum};
    default:
      return {25, 23, float8 ? 32 : 16, f16_sum};
  }
}

// magnitude * 2^unit as f32, cut towards zero to `mantissa_bits`; infinity where f32 ends. `sticky`: what is cut off
// leaves a mark in the last bit, so that a later rounding to fewer bits is that of the whole number.
OCTAVO_INLINE constexpr float cut_to_f32(bool negative, std::uint64_t magnitude, std::int32_t unit,
                                         std::int32_t mantissa_bits, bool sticky = false) {
  if (magnitude == 0) return 0.0f;
  std::int32_t top = 0;  // of the highest bit
  for (std::int32_t half = 32; half > 0; half /= 2) {
    if ((magnitude >> top >> half) != 0) top += half;
  }
  const std::int32_t exponent = top + unit < -126 ? -126 : top + unit;
  const std::uint32_t sign = negative ? 0x80000000u : 0u;
  if (exponent > 127) return f32_of_bits(sign | 0x7f800000u);
  const std::int32_t drop = exponent - mantissa_bits - unit;
  if (drop > 63) return 0.0f;
  if (drop > 0) {
    const std::uint64_t cut = magnitude >> drop << drop;
    magnitude = sticky && cut != magnitude ? cut | std::uint64_t{1} << drop : cut;
  }
  const std::int32_t shift = unit - (exponent - 23);
  const auto significand = static_cast<std::uint32_t>(shift >= 0 ? magnitude << shift : magnitude >> -shift);
  if (significand < 0x00800000u) return significand == 0 ? 0.0f : f32_of_bits(sign | significand);  // subnormal
  return f32_of_bits(sign | ((static_cast<std::uint32_t>(exponent + 126) << 23) + significand));
}

// `value` * 2^by, towards zero.
OCTAVO_INLINE constexpr std::int64_t shifted_towards_zero(std::int64_t value, std::int32_t by) {
  if (by >= 0) return value * (std::int64_t{1} << by);
  if (by < -62) return 0;
  return value < 0 ? -(-value >> -by) : value >> -by;
}

// Whether the product is a NaN or an infinity.
OCTAVO_INLINE constexpr bool is_special(const Factor& a, const Factor& b) {
  return (a.exponent == kInfinityExponent && b.exponent != kAbsentExponent) ||
         (b.exponent == kInfinityExponent && a.exponent != kAbsentExponent);
}

// Of a step that holds a NaN or an infinity: IEEE's rules, and one NaN for all.
OCTAVO_INLINE constexpr float fused_dot_of_specials(const Factor* a, const Factor* b, std::int32_t count, float c) {
  bool plus = false, minus = false, none = false;
  if (!is_finite(c)) {
    const bool nan = (bits_of_f32(c) & 0x007fffffu) != 0, negative = (bits_of_f32(c) >> 31) != 0;
    (nan ? none : negative ? minus : plus) = true;
  }
  for (std::int32_t i = 0; i < count; ++i) {
    if (!is_special(a[i], b[i])) continue;
    const std::int64_t sign = std::int64_t{a[i].significand} * b[i].significand;  // 0: NaN, or infinity by zero
    (sign > 0 ? plus : sign < 0 ? minus : none) = true;
  }
  if (none || (plus && minus)) return f32_of_bits(0x7fffffffu);
  return f32_of_bits(plus ? 0x7f800000u : 0xff800000u);
}

// One step: c + sum_i a_i b_i, i < count <= 32.
OCTAVO_INLINE constexpr float fused_dot_step(const Factor* a, const Factor* b, std::int32_t count, float c,
                                             const DotModel& model) {
  const std::uint32_t c_bits = bits_of_f32(c), c_magnitude = c_bits & 0x7fffffffu;
  const std::int32_t c_field = static_cast<std::int32_t>(c_magnitude >> 23);
  const std::int32_t c_exponent = c_magnitude == 0 ? kZeroExponent : c_field == 0 ? -126 : c_field - 127;
  std::int32_t largest = c_exponent;
  bool special = c_field == 255;
  for (std::int32_t i = 0; i < count; ++i) {
    special = special || is_special(a[i], b[i]);
    const std::int32_t exponent = a[i].exponent + b[i].exponent;
    if (exponent > largest) largest = exponent;
  }
  if (special) return fused_dot_of_specials(a, b, count, c);

  const std::int64_t c_significand =
      static_cast<std::int64_t>((c_magnitude & 0x007fffffu) | (c_field == 0 ? 0u : 0x00800000u));
  std::int64_t sum = shifted_towards_zero((c_bits >> 31) != 0 ? -c_significand : c_significand,
                                          c_exponent - largest + model.fraction_bits - 23);
  for (std::int32_t i = 0; i < count; ++i) {
    sum += shifted_towards_zero(std::int64_t{a[i].significand} * b[i].significand,
                                a[i].exponent + b[i].exponent - largest + model.fraction_bits - 2 * kFactorBits);
  }
  const bool negative = sum < 0;
  const auto magnitude = static_cast<std::uint64_t>(negative ? -sum : sum);
  const std::int32_t unit = largest - model.fraction_bits;
  if (model.f16_sum) return f16_to_f32(f32_to_f16(cut_to_f32(negative, magnitude, unit, 23, true)));
  return cut_to_f32(negative, magnitude, unit, model.mantissa_bits);
}

// c + sum_i a_i b_i, i < count, step by step.
OCTAVO_INLINE constexpr float fused_dot(const Factor* a, const Factor* b, std::int64_t count, float c,
                                        const DotModel& model) {
  for (std::int64_t i = 0; i < count; i += model.step) {
    const std::int64_t left = count - i;
    c = fused_dot_step(a + i, b + i, static_cast<std::int32_t>(left < model.step ? left : model.step), c, model);
  }
  return c;
}

}  // namespace octavo::spec
