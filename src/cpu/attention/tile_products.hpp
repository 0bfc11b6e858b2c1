// Both integer products where a policy has tiles: a whole group of rows against a strip in one register tile.
//   Q [16][steps] s8 words, K strip [steps][64] words -> S [16][64] s32;   P [16][steps] u8 words, V strip likewise
// The operands are packed as the vector products read them, in words of four codes, so that a stretch of 16 steps by 16
// columns is an operand of a tile product as it lies. Steps are taken 16 at a time: Q's and K's words end in zeros up
// to a multiple of 64 channels, and P's codes of keys that do not exist are zeros.
#pragma once

#include "cpu/attention/pv.hpp"
#include "cpu/attention/qk.hpp"

namespace octavo::cpu {
namespace {

// Rows of a tile, words of its rows: what a tile product contracts is kTileSide words.
inline constexpr int kTileSide = 16;

// Four tiles of sums, one for the rows, three for the columns' operands.
inline constexpr int kRowsTile = 4, kFirstColumnsTile = 5, kColumnsTiles = 3;

// Sums as the tiles leave them, which only memory takes.
template <class S, int kColumns>
struct TileSums {
  static_assert(S::kLanes == kTileSide && kGroupRows == kTileSide);
  alignas(64) std::int32_t words[kGroupRows][kColumns * kTileSide];
};

struct TileKeys {
  template <class S, int kSum, int kA, int kB>
  OCTAVO_INLINE void step() {
    S::template dot_tile_keys<kSum, kA, kB>();
  }
};
struct TileValues {
  template <class S, int kSum, int kA, int kB>
  OCTAVO_INLINE void step() {
    S::template dot_tile_values<kSum, kA, kB>();
  }
};

template <class S, int kColumns, int kColumn = 0>
OCTAVO_INLINE void zero_tiles() {
  if constexpr (kColumn < kColumns) {
    S::template tile_zero<kColumn>();
    zero_tiles<S, kColumns, kColumn + 1>();
  }
}
template <class S, class Kind, int kColumns, int kColumn = 0>
OCTAVO_INLINE void add_tile_products(const std::int32_t* b, std::ptrdiff_t b_ld) {
  if constexpr (kColumn < kColumns) {
    constexpr int kB = kFirstColumnsTile + kColumn % kColumnsTiles;
    S::template tile_load<kB>(b + kColumn * kTileSide, b_ld * 4);
    Kind::template step<S, kColumn, kRowsTile, kB>();
    add_tile_products<S, Kind, kColumns, kColumn + 1>(b, b_ld);
  }
}
template <class S, int kColumns, int kColumn = 0>
OCTAVO_INLINE void store_tiles(TileSums<S, kColumns>& out) {
  if constexpr (kColumn < kColumns) {
    S::template tile_store<kColumn>(&out.words[0][kColumn * kTileSide], sizeof(out.words[0]));
    store_tiles<S, kColumns, kColumn + 1>(out);
  }
}

// A [16][steps] words, B [steps][kColumns tiles] -> C. `between` is called kParts times, after equal shares of the
// steps and, because what a tile stores cannot be read back at once, after the stores.
template <class S, class Kind, int kColumns, class Between>
OCTAVO_INLINE void tile_product(const std::int32_t* a, std::ptrdiff_t a_ld, const std::int32_t* b, std::ptrdiff_t b_ld,
                                std::int64_t steps, TileSums<S, kColumns>& c, Between&& between) {
  constexpr int kParts = std::remove_reference_t<Between>::kParts;
  const int shares = static_cast<int>((steps + kTileSide - 1) / kTileSide) + 1;
  int part = 0;
  zero_tiles<S, kColumns>();
  for (int share = 1; share <= shares; ++share) {
    if (share < shares) {
      S::template tile_load<kRowsTile>(a, a_ld * 4);
      add_tile_products<S, Kind, kColumns>(b, b_ld);
      a += kTileSide;
      b += kTileSide * b_ld;
    } else {
      store_tiles<S, kColumns>(c);
    }
    for (const int end = share * kParts / shares; part < end; ++part) between();
  }
}

// Either product of a group as qk.hpp and pv.hpp call it; `row` is 0. The kinds of a policy with tiles need no
// start: its key codes and weights have no bias, and no other product for codes of -128.
template <class S>
struct OneTileSum {
  static_assert(S::kKeyBias == 0 && S::kWeightBias == 0 && S::kFullRangeS8);
  static constexpr int kRows = kGroupRows;
  template <int kColumns>
  using Sums = TileSums<S, kColumns>;

  template <int kColumns, class Between>
  OCTAVO_INLINE void products(const QkStage& s, int row, std::int64_t key, Sums<kColumns>& out, Between&& between) {
    const std::int32_t* keys = s.k + key / kStrip * s.k_strip + key % kStrip;
    tile_product<S, TileKeys, kColumns>(s.q + row * s.q_ld, s.q_ld, keys, kStrip, s.steps, out, between);
  }
  template <int kColumns>
  OCTAVO_INLINE void products(const PvStage& s, int row, std::int64_t column, Sums<kColumns>& out) {
    const std::int64_t strip = column / kStrip * kStrip, width = strip_width(s.columns, strip);
    const std::int32_t* v = s.v + strip * s.v_steps + s.first_step * width + column % kStrip;
    tile_product<S, TileValues, kColumns>(s.weights + row * s.p_ld, s.p_ld, v, width, s.steps, out, NoWork{});
  }
  template <int kColumns>
  OCTAVO_INLINE typename S::f32 sum(const Sums<kColumns>& sums, int i, int j) {
    return S::to_f32(S::load(&sums.words[i][j * kTileSide]));
  }
};

// Two planes of a 16-bit query, or of 16-bit weights, joined as 256 h + l where they are read.
template <class S>
struct TwoTileSums {
  static constexpr int kRows = kGroupRows;
  using One = OneTileSum<S>;
  template <int kColumns>
  struct Sums {
    TileSums<S, kColumns> high, low;
  };

  template <int kColumns, class Between>
  OCTAVO_INLINE void products(const QkStage& s, int row, std::int64_t key, Sums<kColumns>& out, Between&& between) {
    QkStage low = s;
    low.q = s.q_low;
    One::template products<kColumns>(low, row, key, out.low, NoWork{});
    One::template products<kColumns>(s, row, key, out.high, between);
  }
  template <int kColumns>
  OCTAVO_INLINE void products(const PvStage& s, int row, std::int64_t column, Sums<kColumns>& out) {
    PvStage low = s;
    low.weights = s.weights_low;
    One::template products<kColumns>(low, row, column, out.low);
    One::template products<kColumns>(s, row, column, out.high);
  }
  template <int kColumns>
  OCTAVO_INLINE typename S::f32 sum(const Sums<kColumns>& sums, int i, int j) {
    return S::fma(One::template sum<kColumns>(sums.high, i, j), S::set1(256.0f),
                  One::template sum<kColumns>(sums.low, i, j));
  }
};

}  // namespace
}  // namespace octavo::cpu
