// How a tensor core is told where an operand lies in shared memory: 64 bits (PTX ISA, "Matrix descriptor"):
//   bits 0-13 address / 16   16-29 leading / 16   32-45 stride / 16   49-51 base offset, 0   62-63 swizzle
// Eight rows are an atom. Swizzled, its rows lie one after another, as wide as the swizzle, and a product of 32 bytes
// depth starts at any 32 of them; `leading` is not read. Without, an atom is 8 x 16 bytes, `leading` further lies the
// next 16 bytes of the same rows. In both, `stride` further lie the next eight rows.
// This holds for operands whose rows run along the product's depth, A [64, K] and B [N, K]: "K-major", the only order
// of 8-bit elements. B of 16-bit elements may be transposed, [K, N] ("N-major"), here always swizzled: an atom is eight
// rows, each of one index of the depth; `stride` further lie the next eight, `leading` further what follows in the same
// rows.
#pragma once

#include <cstdint>

#include "cuda/tile/swizzle.hpp"

namespace octavo::cuda {

struct MatrixDescriptor {
  std::uint32_t address = 0, leading = 0, stride = 0;
  Swizzle swizzle = Swizzle::none;
};

constexpr std::uint32_t kUnreadLeading = 16;  // of swizzled operands

// 128 bytes are 1, 64 are 2, 32 are 3.
OCTAVO_INLINE constexpr std::uint32_t code_of(Swizzle swizzle) {
  return (4u - static_cast<std::uint32_t>(swizzle)) % 4;
}

OCTAVO_INLINE constexpr std::uint64_t encode(const MatrixDescriptor& matrix) {
  constexpr std::uint64_t kField = 0x3fff;
  return (matrix.address / 16 & kField) | (matrix.leading / 16 & kField) << 16 | (matrix.stride / 16 & kField) << 32 |
         static_cast<std::uint64_t>(code_of(matrix.swizzle)) << 62;
}
OCTAVO_INLINE constexpr MatrixDescriptor decode(std::uint64_t bits) {
  const auto field = [bits](int first) { return static_cast<std::uint32_t>(bits >> first & 0x3fff) * 16; };
  return {field(0), field(16), field(32), static_cast<Swizzle>((4u - static_cast<std::uint32_t>(bits >> 62)) % 4)};
}

// The same matrix `bytes` further on. No address leaves its field, so that the lower half is all that changes.
OCTAVO_INLINE constexpr std::uint64_t advance(std::uint64_t matrix, std::uint32_t bytes) {
  return matrix >> 32 << 32 | (static_cast<std::uint32_t>(matrix) + bytes / 16);
}

// Where byte `byte` of row `row` lies.
OCTAVO_INLINE constexpr std::uint32_t place_in_matrix(const MatrixDescriptor& matrix, std::uint32_t row,
                                                      std::uint32_t byte) {
  const std::uint32_t atom = matrix.address + row / 8 * matrix.stride + row % 8 * row_bytes(matrix.swizzle);
  if (matrix.swizzle == Swizzle::none) return atom + byte / 16 * matrix.leading + byte % 16;
  return swizzled(matrix.swizzle, atom + byte);
}

// The same of a transposed operand, whose rows are wider than the swizzle.
OCTAVO_INLINE constexpr std::uint32_t place_in_transposed(const MatrixDescriptor& matrix, std::uint32_t row,
                                                          std::uint32_t byte) {
  const std::uint32_t width = row_bytes(matrix.swizzle);
  return swizzled(matrix.swizzle, matrix.address + byte / width * matrix.leading + row / 8 * matrix.stride +
                                      row % 8 * width + byte % width);
}

}  // namespace octavo::cuda
