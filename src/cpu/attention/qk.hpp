// The qk stage: T = (Q . K) * (row_factor * key_factor) + key_addend, and each row's maximum over the block.
// The integer product is exact. The row factor is Q's scale times softmax_scale and log2 e, the key factor K's scale.
// The addend is smooth_q's bias, the fold's log2 of V's scale, or -infinity for keys that do not exist.
#pragma once

#include "cpu/attention/dot_tile.hpp"
#include "cpu/attention/stages.hpp"

namespace octavo::cpu {
namespace {

// What the product of one tile is before it is scaled: one sum, or two planes of a 16-bit query joined as 256 h + l.
// A tile has kRows rows by kColumns vectors; products() makes its Sums, sum() is one vector of them as floats.
// FullRange: the same with key codes that the policy's fastest product cannot take.
template <class S, class Kind, int kHeight = S::kTileRows>
struct OnePlane {
  static constexpr int kRows = kHeight;
  using FullRange = OnePlane<S, typename Kind::FullRange, kHeight>;
  template <int kColumns>
  using Sums = typename S::f32[kRows][kColumns];

  template <int kColumns, class Between>
  OCTAVO_INLINE void products(const QkStage& s, int row, std::int64_t key, Sums<kColumns>& out, Between&& between) {
    typename Kind::sum c[kRows][kColumns];
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) c[i][j] = Kind::start(s.start, row + i);
    const std::int32_t* keys = s.k + key / kStrip * s.k_strip + key % kStrip;
    dot_tile<S, Kind, kRows, kColumns>(s.q + row * s.q_ld, s.q_ld, keys, kStrip, s.steps, c, between);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) out[i][j] = Kind::to_float(c[i][j]);
  }
  template <int kColumns>
  OCTAVO_INLINE typename S::f32 sum(const Sums<kColumns>& sums, int i, int j) {
    return sums[i][j];
  }
};

template <class S, class Kind>
struct TwoPlanes : OnePlane<S, Kind> {
  using FullRange = TwoPlanes<S, typename Kind::FullRange>;
  using Plane = OnePlane<S, Kind>;
  static constexpr int kRows = Plane::kRows;
  template <int kColumns>
  using Sums = typename Plane::template Sums<kColumns>;

  template <int kColumns, class Between>
  OCTAVO_INLINE void products(const QkStage& s, int row, std::int64_t key, Sums<kColumns>& out, Between&& between) {
    QkStage low = s;
    low.q = s.q_low;
    low.start = s.start_low;
    Sums<kColumns> part;
    Plane::template products<kColumns>(low, row, key, part, NoWork{});
    Plane::template products<kColumns>(s, row, key, out, between);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) out[i][j] = S::fma(out[i][j], S::set1(256.0f), part[i][j]);
  }
};

// One tile: rows row.., keys key.. .
template <class S, class Product, class Between>
OCTAVO_INLINE void qk_tile(const QkStage& s, int row, std::int64_t key, float* maxima, Between&& between) {
  constexpr int kColumns = S::kTileColumns, kLanes = S::kLanes;
  const int rows = rows_of_tile<Product>(s.rows);
  typename Product::template Sums<kColumns> t;
  Product::template products<kColumns>(s, row, key, t, between);
  typename S::f32 factor[kColumns], addend[kColumns];
#pragma GCC unroll 8
  for (int j = 0; j < kColumns; ++j) {
    factor[j] = S::load(s.key_factor + key + j * kLanes);
    addend[j] = S::load(s.key_addend + key + j * kLanes);
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    // Factor times factor first: the sum times a large factor of K alone may exceed f32 where the score does not.
    const auto row_factor = S::set1(s.row_factor[row + i]);
    float* scores = s.scores + (row + i) * s.ld + key;
    float* maximum = maxima + (row + i) * kLanes;
    auto best = S::load(maximum);
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) {
      const auto logit = S::fma(Product::template sum<kColumns>(t, i, j), S::mul(factor[j], row_factor), addend[j]);
      S::store(scores + j * kLanes, logit);
      best = S::max(logit, best);
    }
    S::store(maximum, best);
  }
}

// Tiles of Tall while as many rows are left, then of Product.
template <class S, class Product, class Tall = Product, class Between>
OCTAVO_INLINE void qk_tiles(const QkStage& stage, Between&& between) {
  constexpr int kLanes = S::kLanes;
  const QkStage s = stage;  // a local copy: vector stores may alias anything behind a reference
  alignas(64) float maxima[kGroupRows * kLanes];
  for (int i = 0; i < kGroupRows; ++i) S::store(maxima + i * kLanes, S::set1(-__builtin_inff()));
  for (std::int64_t key = 0; key < s.keys; key += S::kTileColumns * kLanes) {
    int row = 0;
    if constexpr (Tall::kRows > Product::kRows)
      for (; row + Tall::kRows <= s.rows; row += Tall::kRows) qk_tile<S, Tall>(s, row, key, maxima, between);
    for (; row < s.rows; row += Product::kRows) qk_tile<S, Product>(s, row, key, maxima, between);
  }
  for (int i = 0; i < kGroupRows; i += kLanes) S::store(s.row_max + i, S::row_max(maxima + i * kLanes));
}

template <class S, class Product, class Tall = Product>
void qk_stage(const QkStage& stage) {
  if constexpr (!S::kFullRangeS8) {
    if (stage.full_range_s8) return qk_tiles<S, typename Product::FullRange>(stage, NoWork{});
  }
  qk_tiles<S, Product, Tall>(stage, NoWork{});
}

}  // namespace
}  // namespace octavo::cpu
