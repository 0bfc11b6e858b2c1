// Which element of a matrix each register of each lane holds, for the products of one warp: (lane, register, index
// within the register) -> (row, column). PTX ISA, "Matrix fragments for mma.m16n8k16 / k32 / k64" and ldmatrix. All
// have one pattern. With lane = 4g + t and e elements in a 32-bit register (2 of 16 bits, 4 of 8, 8 of 4), a warp
// multiplies
//   A [16, 8e]   four registers: row g or g + 8 (odd registers), columns e t .. e t + e - 1, from the third on 4e later
//   B [8e, 8]    two registers: column g, rows as the columns of A
//   C [16, 8]    four numbers: row g or g + 8 (from the third on), columns 2t, 2t + 1; sums in f16 are two a register
#pragma once

#include <cstdint>

#include "core/inline.hpp"

namespace octavo::cuda {

constexpr int kLanes = 32;

struct Place {
  int row, column;
  friend constexpr bool operator==(const Place&, const Place&) = default;
};

template <int elements>
OCTAVO_INLINE constexpr Place place_in_a(int lane, int reg, int i) {
  return {lane / 4 + 8 * (reg % 2), lane % 4 * elements + i + reg / 2 * 4 * elements};
}
template <int elements>
OCTAVO_INLINE constexpr Place place_in_b(int lane, int reg, int i) {
  return {lane % 4 * elements + i + reg * 4 * elements, lane / 4};
}
OCTAVO_INLINE constexpr Place place_in_c(int lane, int reg) {
  return {lane / 4 + 8 * (reg / 2), lane % 4 * 2 + reg % 2};
}

// ldmatrix: register r of a lane holds two 16-bit elements of matrix r of 8 x 8; transposed: of its transpose.
OCTAVO_INLINE constexpr Place place_in_ldmatrix(int lane, int i) { return {lane / 4, lane % 4 * 2 + i}; }
// The lane that supplies the address of row `row` of matrix `matrix`.
OCTAVO_INLINE constexpr int lane_of_matrix_row(int matrix, int row) { return 8 * matrix + row; }

// The products, by their operands; *_to_f16: with sums in f16, others of floats in f32.
enum class Mma { s8s8, u8s8, u8u8, s4s4, f16, bf16, e4m3, e5m2, f16_to_f16, e4m3_to_f16 };

OCTAVO_INLINE constexpr int elements_of_register(Mma kind) {
  return kind == Mma::f16 || kind == Mma::bf16 || kind == Mma::f16_to_f16 ? 2 : kind == Mma::s4s4 ? 8 : 4;
}
OCTAVO_INLINE constexpr bool sums_in_f16(Mma kind) { return kind == Mma::f16_to_f16 || kind == Mma::e4m3_to_f16; }
OCTAVO_INLINE constexpr bool sums_integers(Mma kind) {
  return kind == Mma::s8s8 || kind == Mma::u8s8 || kind == Mma::u8u8 || kind == Mma::s4s4;
}
template <bool integers, bool f16>
struct MmaSumOf {
  using type = float;
};
template <>
struct MmaSumOf<true, false> {
  using type = std::int32_t;
};
template <>
struct MmaSumOf<false, true> {
  using type = std::uint32_t;  // two numbers
};
template <Mma kind>
using MmaSum = typename MmaSumOf<sums_integers(kind), sums_in_f16(kind)>::type;
// Registers of C.
template <Mma kind>
constexpr int kSumRegisters = sums_in_f16(kind) ? 2 : 4;

}  // namespace octavo::cuda
