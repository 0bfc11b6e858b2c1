// A tile of rows in shared memory, in chunks of 16 bytes, swizzled: chunk c of row r lies where chunk
// c xor r % 8 would, so that eight chunks of one column, one from each of eight rows, lie in the eight
// 16-byte banks and ldmatrix reads them at once. (Rows of 64 bytes: two of them fill the banks, the xor changes with
// every other row; of 32 bytes: with every fourth. Rows of 128 bytes: what TMA calls the 128-byte swizzle.)
#pragma once

#include <cstdint>

#include "core/inline.hpp"

namespace octavo::cuda {

constexpr std::uint32_t kChunkBytes = 16;

template <std::uint32_t kRowBytes>
struct SharedTile {
  static_assert(kRowBytes == 32 || kRowBytes % 64 == 0, "a row is a quarter of a bank line, or a number of halves");
  static constexpr std::uint32_t kChunks = kRowBytes / kChunkBytes;

  OCTAVO_INLINE constexpr std::uint32_t swizzle(std::uint32_t row) {
    return kRowBytes >= 128 ? row % 8 : kRowBytes == 64 ? row / 2 % 4 : row / 4 % 2;
  }
  // Byte of chunk `chunk` of row `row`, counted from the tile's first, which is a multiple of 128.
  OCTAVO_INLINE constexpr std::uint32_t at(std::uint32_t row, std::uint32_t chunk) {
    return row * kRowBytes + (chunk ^ swizzle(row)) * kChunkBytes;
  }
};

}  // namespace octavo::cuda
