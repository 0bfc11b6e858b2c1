// How tiles lie in shared memory that the copy engine writes and the tensor cores read by themselves: rows of 32, 64 or
// 128 bytes, eight of them an atom in which 16-byte chunks change places, so that one chunk column of eight rows lies
// in as many banks as can be. As a law of byte addresses: bits 4.. are xored with those from bit 7 on,
//   32: bit 4 ^= bit 7    64: bits 4-5 ^= bits 7-8    128: bits 4-6 ^= bits 7-9
// (PTX ISA, "Swizzling modes"; SharedTile's rows of 128 bytes are the last of these).
#pragma once

#include <cstdint>

#include "core/inline.hpp"

namespace octavo::cuda {

enum class Swizzle : std::uint8_t { none, bytes32, bytes64, bytes128 };

// Bytes of a row of an atom; 16 where nothing is swizzled: a row of a core matrix.
OCTAVO_INLINE constexpr std::uint32_t row_bytes(Swizzle swizzle) { return 16u << static_cast<int>(swizzle); }
// An atom, 8 rows: from where on the pattern repeats, so that a tile starts at a multiple of it.
OCTAVO_INLINE constexpr std::uint32_t atom_bytes(Swizzle swizzle) { return 8 * row_bytes(swizzle); }

// Where the byte lies that would lie at `byte`; both are addresses in shared memory.
OCTAVO_INLINE constexpr std::uint32_t swizzled(Swizzle swizzle, std::uint32_t byte) {
  const std::uint32_t mask = row_bytes(swizzle) - 16;
  return byte ^ (byte >> 3 & mask);
}

}  // namespace octavo::cuda
