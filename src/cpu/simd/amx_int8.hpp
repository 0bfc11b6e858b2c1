// The primitives of AVX-512 with VNNI and BF16, and AMX's tiles for the integer products.
//
// AMX has eight registers of 16 rows by 64 bytes. TDPBSSD and TDPBUSD take A [16][16] words, B [16][16] words and add
// A B to C [16][16] s32, a word being four codes along the contracted axis: the layout that VPDPBUSD reads, too. A
// tile's number is part of the instruction, so it is a template's argument here and an immediate of asm; g++ 12's
// intrinsics are macros that make a string of it. (Both assemble to the same bytes: c4 e2 53 5e dc adds the product of
// tiles 4 and 5 to tile 3.) The compiler allocates no tiles; that it must not move memory across loads and stores is
// what the clobbers say.
#pragma once

#include "cpu/simd/avx512_vnni.hpp"

namespace octavo::cpu {
namespace {

struct AmxInt8 : Avx512VnniBf16 {
  static constexpr bool kHasTiles = true;
  // Key codes are signed operands, and so no bias; the accumulators are exact for every code.
  static constexpr int kKeyBias = 0;
  // All integer products are the tiles'; AVX-512's would read these keys as unsigned.
  static s32 dot_key(s32 acc, s32 a, s32 b) = delete;
  static s32 dot_value(s32 acc, s32 a, s32 b) = delete;

  // Eight tiles of 16 rows by 64 bytes, palette 1; all of them zero. Until close_tiles() the thread has more state to
  // be saved at a task switch.
  OCTAVO_INLINE void open_tiles() {
    alignas(64) static constexpr std::uint8_t kConfiguration[64] = {
        1,  0,  0,  0,  0,  0,  0,  0,  0,  0, 0,  0, 0,  0, 0,  0,   // palette, start row
        64, 0,  64, 0,  64, 0,  64, 0,  64, 0, 64, 0, 64, 0, 64, 0,   // bytes of a row, u16 a tile
        0,  0,  0,  0,  0,  0,  0,  0,  0,  0, 0,  0, 0,  0, 0,  0,   // of tiles 8 to 15, which there are not
        16, 16, 16, 16, 16, 16, 16, 16, 0,  0, 0,  0, 0,  0, 0,  0};  // rows, u8 a tile
    asm volatile("ldtilecfg %0" : : "m"(kConfiguration));
  }
  OCTAVO_INLINE void close_tiles() { asm volatile("tilerelease"); }

  template <int kTile>
  OCTAVO_INLINE void tile_zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  OCTAVO_INLINE void tile_load(const void* from, std::ptrdiff_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  OCTAVO_INLINE void tile_store(void* to, std::ptrdiff_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kSum, int kA, int kB>
  OCTAVO_INLINE void dot_tile_keys() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  template <int kSum, int kA, int kB>
  OCTAVO_INLINE void dot_tile_values() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace octavo::cpu
