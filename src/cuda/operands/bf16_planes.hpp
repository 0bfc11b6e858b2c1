// An f32 number as the sum of three of bf16, cut, not rounded: the planes hold its 24 digits eight at a time, exactly
// where none of them is below bf16's range. Products of such numbers are sums of products of planes.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "core/inline.hpp"
#include "cuda/tile/compile.hpp"

namespace octavo::cuda {

inline constexpr int kPlanesOfF32 = 3;

// Upper halves of two numbers as a register, and what they leave.
OCTAVO_INLINE std::uint32_t take_upper_halves(float& a, float& b) {
  const std::uint32_t first = bits_of_f32(a) & 0xffff0000u, second = bits_of_f32(b) & 0xffff0000u;
  a = a - f32_of_bits(first), b = b - f32_of_bits(second);
  return second | first >> 16;
}

// The three planes of a pair. An infinity or a NaN is in the first one alone.
OCTAVO_INLINE void split_pair(float a, float b, std::uint32_t (&planes)[kPlanesOfF32]) {
  OCTAVO_UNROLL
  for (int plane = 0; plane < kPlanesOfF32; ++plane) {
    // The upper half of a NaN must be one.
    if (plane == 0 && a != a) a = f32_of_bits(0x7fc00000u);
    if (plane == 0 && b != b) b = f32_of_bits(0x7fc00000u);
    const bool finite_a = is_finite(a), finite_b = is_finite(b);
    planes[plane] = take_upper_halves(a, b);
    if (!finite_a) a = 0;
    if (!finite_b) b = 0;
  }
}

// Number c of row `row` of planes [rows][kPlanesOfF32][dim], in pairs.
OCTAVO_INLINE float sum_of_planes(const std::uint32_t* planes, std::int64_t row, std::int64_t dim, std::int64_t c) {
  float sum = 0;
  for (int plane = kPlanesOfF32 - 1; plane >= 0; --plane) {
    const std::uint32_t pair = planes[((row * kPlanesOfF32 + plane) * dim + c) / 2];
    sum += f32_of_bits(c % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
  }
  return sum;
}

}  // namespace octavo::cuda
