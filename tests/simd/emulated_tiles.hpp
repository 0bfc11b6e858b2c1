// AmxInt8 with its tile primitives on plain arrays, written from the instructions' documented operation: everything
// above those primitives runs wherever AVX-512 with VNNI and BF16 does. A primitive that this policy forgot would be
// the instruction.
//   TDPBSSD c, a, b: for m, k, n < 16 and i < 4,
//     c.dword[m][n] += s8(a.byte[m][4 k + i]) * s8(b.byte[k][4 n + i])
//   TDPBUSD: the same with u8(a...).
// Sums wrap around. LDTILECFG zeroes all tiles; outside of it and TILERELEASE every primitive is an error, which is
// counted.
#pragma once

#include <cstring>

#include "cpu/simd/amx_int8.hpp"
#include "emulated_state.hpp"

namespace octavo::cpu {
namespace {

struct EmulatedTiles : AmxInt8 {
  static constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

  OCTAVO_INLINE std::uint8_t* row_of(int tile, int row) {
    return emulated_tiles.bytes + (tile * kRows + row) * kRowBytes;
  }
  OCTAVO_INLINE void expect_open(bool open) {
    if (emulated_tiles.open != open) ++emulated_tiles.faults;
  }

  OCTAVO_INLINE void open_tiles() {
    expect_open(false);
    emulated_tiles.open = true;
    std::memset(emulated_tiles.bytes, 0, sizeof(emulated_tiles.bytes));
  }
  OCTAVO_INLINE void close_tiles() {
    expect_open(true);
    emulated_tiles.open = false;
  }
  template <int kTile>
  OCTAVO_INLINE void tile_zero() {
    static_assert(kTile < kTiles);
    expect_open(true);
    std::memset(row_of(kTile, 0), 0, kRows * kRowBytes);
  }
  template <int kTile>
  OCTAVO_INLINE void tile_load(const void* from, std::ptrdiff_t stride) {
    static_assert(kTile < kTiles);
    expect_open(true);
    for (int m = 0; m < kRows; ++m)
      std::memcpy(row_of(kTile, m), static_cast<const std::uint8_t*>(from) + m * stride, kRowBytes);
  }
  template <int kTile>
  OCTAVO_INLINE void tile_store(void* to, std::ptrdiff_t stride) {
    static_assert(kTile < kTiles);
    expect_open(true);
    for (int m = 0; m < kRows; ++m)
      std::memcpy(static_cast<std::uint8_t*>(to) + m * stride, row_of(kTile, m), kRowBytes);
  }
  template <int kSum, int kA, int kB>
  OCTAVO_INLINE void dot_tile_keys() {
    dot<kSum, kA, kB>([](std::uint8_t a) { return static_cast<int>(static_cast<std::int8_t>(a)); });
  }
  template <int kSum, int kA, int kB>
  OCTAVO_INLINE void dot_tile_values() {
    dot<kSum, kA, kB>([](std::uint8_t a) { return static_cast<int>(a); });
  }

 private:
  template <int kSum, int kA, int kB, class Element>
  OCTAVO_INLINE void dot(const Element& element) {
    static_assert(kSum != kA && kA != kB && kSum != kB, "the instruction faults where two of its tiles are one");
    expect_open(true);
    ++emulated_tiles.products;
    for (int m = 0; m < kRows; ++m) {
      std::uint32_t sums[kRows];
      std::memcpy(sums, row_of(kSum, m), kRowBytes);
      for (int k = 0; k < kRows; ++k)
        for (int n = 0; n < kRows; ++n)
          for (int i = 0; i < 4; ++i)
            sums[n] += static_cast<std::uint32_t>(element(row_of(kA, m)[4 * k + i]) *
                                                  static_cast<std::int8_t>(row_of(kB, k)[4 * n + i]));
      std::memcpy(row_of(kSum, m), sums, kRowBytes);
    }
  }
};

}  // namespace
}  // namespace octavo::cpu
