// The pv stage: O = alpha * O + beta * (P V). Integer products of one key block are exact; they become floats once.
#pragma once

#include "cpu/attention/dot_tile.hpp"
#include "cpu/attention/stages.hpp"

namespace octavo::cpu {
namespace {

// What the product of one tile is before it is scaled: one sum; two planes of 16-bit codes joined as 256 h + l; or a
// sum that is rounded to f16 every few keys, as an accumulator of that format does. FullRange: see qk.hpp.
template <class S, class Kind, int kHeight = S::kTileRows>
struct OneSum {
  static constexpr int kRows = kHeight;
  using FullRange = OneSum<S, typename Kind::FullRange, kHeight>;
  template <int kColumns>
  using Sums = typename S::f32[kRows][kColumns];

  template <int kColumns>
  OCTAVO_INLINE void products(const PvStage& s, int row, std::int64_t column, Sums<kColumns>& out) {
    typename Kind::sum c[kRows][kColumns];
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) c[i][j] = Kind::start(s.start, column + j * S::kLanes);
    const std::int64_t strip = column / kStrip * kStrip, width = strip_width(s.columns, strip);
    const std::int32_t* v = s.v + strip * s.v_steps + s.first_step * width + column % kStrip;
    dot_tile<S, Kind, kRows, kColumns>(s.weights + row * s.p_ld, s.p_ld, v, width, s.steps, c, NoWork{});
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) out[i][j] = Kind::to_float(c[i][j]);
  }
  template <int kColumns>
  OCTAVO_INLINE typename S::f32 sum(const Sums<kColumns>& sums, int i, int j) {
    return sums[i][j];
  }
};

template <class S, class Kind>
struct TwoByteSums : OneSum<S, Kind> {
  using FullRange = TwoByteSums<S, typename Kind::FullRange>;
  using Sum = OneSum<S, Kind>;
  static constexpr int kRows = Sum::kRows;
  template <int kColumns>
  using Sums = typename Sum::template Sums<kColumns>;

  template <int kColumns>
  OCTAVO_INLINE void products(const PvStage& s, int row, std::int64_t column, Sums<kColumns>& out) {
    PvStage low = s;
    low.weights = s.weights_low;
    Sums<kColumns> part;
    Sum::template products<kColumns>(low, row, column, part);
    Sum::template products<kColumns>(s, row, column, out);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) out[i][j] = S::fma(out[i][j], S::set1(256.0f), part[i][j]);
  }
};

template <class S, class Kind>
struct HalfSum : OneSum<S, Kind> {
  using FullRange = HalfSum;
  using Sum = OneSum<S, Kind>;
  static constexpr int kRows = Sum::kRows;
  template <int kColumns>
  using Sums = typename Sum::template Sums<kColumns>;

  template <int kColumns>
  OCTAVO_INLINE void products(const PvStage& s, int row, std::int64_t column, Sums<kColumns>& out) {
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) out[i][j] = S::set1(0.0f);
    PvStage some = s;
    for (std::int64_t step = 0; step < s.steps; step += s.sum_steps) {
      some.weights = s.weights + step;
      some.first_step = step;
      some.steps = s.steps - step < s.sum_steps ? s.steps - step : s.sum_steps;
      Sums<kColumns> dot;
      Sum::template products<kColumns>(some, row, column, dot);
      for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kColumns; ++j) out[i][j] = S::round_f16(S::add(out[i][j], dot[i][j]));
    }
  }
};

template <class S, class Product, int kColumns, bool kRescale>
OCTAVO_INLINE void pv_tile(const PvStage& s, int row, std::int64_t column) {
  const int rows = rows_of_tile<Product>(s.rows);
  typename Product::template Sums<kColumns> products;
  Product::template products<kColumns>(s, row, column, products);
  typename S::f32 scale[kColumns];
  if (s.column_scale != nullptr) {
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) scale[j] = S::load(s.column_scale + column + j * S::kLanes);
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    const auto alpha = S::set1(s.alpha[row + i]);
    const auto beta = S::set1(s.beta[row + i]);
    float* out = s.out + (row + i) * s.columns + column;
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) {
      auto kept = S::load(out + j * S::kLanes);
      if constexpr (kRescale) kept = S::mul(kept, alpha);
      // beta first: it takes R off, so that a sum of codes times the scale of values near f32's end stays a number.
      const bool scaled = s.column_scale != nullptr;
      const auto sum = Product::template sum<kColumns>(products, i, j);
      const auto x = scaled ? S::mul(sum, beta) : sum;
      S::store(out + j * S::kLanes, S::fma(x, scaled ? scale[j] : beta, kept));
    }
  }
}

template <class S, class Product, bool kRescale>
OCTAVO_INLINE void pv_row_of_tiles(const PvStage& s, int row) {
  constexpr int kColumns = S::kTileColumns, kLanes = S::kLanes;
  const std::int64_t rest = s.columns / (kColumns * kLanes) * (kColumns * kLanes);
  for (std::int64_t column = 0; column < rest; column += kColumns * kLanes)
    pv_tile<S, Product, kColumns, kRescale>(s, row, column);
  for (std::int64_t column = rest; column < s.columns; column += kLanes)
    pv_tile<S, Product, 1, kRescale>(s, row, column);
}

// Tiles of Tall while as many rows are left, then of Product.
template <class S, class Product, class Tall, bool kRescale>
OCTAVO_INLINE void pv_rows(const PvStage& s) {
  int row = 0;
  if constexpr (Tall::kRows > Product::kRows)
    for (; row + Tall::kRows <= s.rows; row += Tall::kRows) pv_row_of_tiles<S, Tall, kRescale>(s, row);
  for (; row < s.rows; row += Product::kRows) pv_row_of_tiles<S, Product, kRescale>(s, row);
}

template <class S, class Product, class Tall = Product>
OCTAVO_INLINE void pv_rows_of(const PvStage& stage) {
  const PvStage s = stage;  // a local copy: vector stores may alias anything behind a reference
  if (s.rescale) {
    pv_rows<S, Product, Tall, true>(s);
  } else {
    pv_rows<S, Product, Tall, false>(s);
  }
}

template <class S, class Product, class Tall = Product>
void pv_stage(const PvStage& stage) {
  if constexpr (!S::kFullRangeS8) {
    if (stage.full_range_s8) return pv_rows_of<S, typename Product::FullRange>(stage);
  }
  pv_rows_of<S, Product, Tall>(stage);
}

}  // namespace
}  // namespace octavo::cpu
