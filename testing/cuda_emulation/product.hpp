// One element of a tensor core's product, from the bits of its operands: integers exactly, floats to the bit as the
// law of sums (spec/fused_dot.hpp) has it of a generation.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/float_types.hpp"
#include "cuda/tile/fragments.hpp"
#include "spec/fused_dot.hpp"

namespace octavo::cuda::emulation {

constexpr bool is_float8(Mma kind) { return kind == Mma::e4m3 || kind == Mma::e5m2 || kind == Mma::e4m3_to_f16; }
// The generation that mma.sync's sums are taken from, the first that has the product.
template <Mma kind>
constexpr Accumulator kFirstCard = is_float8(kind) ? Accumulator::sm89 : Accumulator::sm80;

// A number of a product or a sum.
template <Mma kind>
using Number = std::conditional_t<sums_integers(kind), std::int32_t, float>;

// The element in the lowest bits of a register.
template <Mma kind, bool left>
Number<kind> element(std::uint32_t bits) {
  if constexpr (kind == Mma::u8u8 || (kind == Mma::u8s8 && left)) return static_cast<std::uint8_t>(bits);
  if constexpr (kind == Mma::u8s8 || kind == Mma::s8s8) return static_cast<std::int8_t>(bits);
  if constexpr (kind == Mma::s4s4) return static_cast<std::int32_t>(bits << 28) >> 28;
  if constexpr (kind == Mma::f16 || kind == Mma::f16_to_f16) return f16_to_f32(static_cast<std::uint16_t>(bits));
  if constexpr (kind == Mma::bf16) return bf16_to_f32(static_cast<std::uint16_t>(bits));
  if constexpr (kind == Mma::e4m3 || kind == Mma::e4m3_to_f16) return e4m3_to_f32(static_cast<std::uint8_t>(bits));
  if constexpr (kind == Mma::e5m2) return e5m2_to_f32(static_cast<std::uint8_t>(bits));
}

// What products are made of: integers as they are, floats as the tensor core's law takes them.
template <Mma kind>
using Factor = std::conditional_t<sums_integers(kind), std::int32_t, spec::Factor>;
template <Mma kind>
Factor<kind> factor(Number<kind> x) {
  if constexpr (sums_integers(kind)) {
    return x;
  } else {
    return spec::factor_of(x, kind == Mma::bf16                               ? spec::kSmallestExponentBf16
                              : kind == Mma::e4m3 || kind == Mma::e4m3_to_f16 ? spec::kSmallestExponentE4m3
                              : kind == Mma::e5m2                             ? spec::kSmallestExponentE5m2
                                                                              : spec::kSmallestExponentF16);
  }
}

// c + sum_i a_i b_i
template <Mma kind, int n>
Number<kind> dot(const Factor<kind> (&a)[n], const Factor<kind> (&b)[n], Number<kind> c, Accumulator card) {
  if constexpr (sums_integers(kind)) {
    for (int i = 0; i < n; ++i) c += a[i] * b[i];
    return c;
  } else {
    return spec::fused_dot(a, b, n, c, spec::dot_law(card, is_float8(kind), sums_in_f16(kind)));
  }
}

// Number `reg` of a lane's four sums in its registers `c`.
template <Mma kind>
Number<kind> get_sum(const MmaSum<kind>* c, int reg) {
  if constexpr (sums_in_f16(kind)) {
    return f16_to_f32(static_cast<std::uint16_t>(c[reg / 2] >> (16 * (reg % 2))));
  } else {
    return c[reg];
  }
}
template <Mma kind>
void set_sum(MmaSum<kind>* c, int reg, Number<kind> x) {
  if constexpr (sums_in_f16(kind)) {
    const std::uint32_t shift = 16 * static_cast<std::uint32_t>(reg % 2);
    c[reg / 2] = (c[reg / 2] & ~(0xffffu << shift)) | static_cast<std::uint32_t>(f32_to_f16(x)) << shift;
  } else {
    c[reg] = x;
  }
}

}  // namespace octavo::cuda::emulation
