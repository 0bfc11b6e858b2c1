// First stage: T = (Q . K) * row_factor * key_factor + key_addend, and each row's maximum over the block.
// The integer product is exact; factors carry scales, softmax scale and log2 e; the addend carries smoothing's
// correction, the fold's log2 of the value scale, and -infinity for keys that do not exist.
#pragma once

#include "cpu/kernels/dot_tile.hpp"
#include "cpu/kernels/stages.hpp"

namespace octavo::cpu {
namespace {

// What the product of one tile is before it is scaled: one sum, or two planes of a 16-bit query joined as 256 h + l.
// EveryCode: the same with key codes that the policy's fastest product cannot take.
template <class S, class Kind>
struct OnePlane {
  using EveryCode = OnePlane<S, typename Kind::EveryCode>;
  template <int kRows, int kColumns, class Between>
  OCTAVO_INLINE void products(const ScoreStage& s, int row, std::int64_t key, typename S::f32 (&out)[kRows][kColumns],
                              Between&& between) {
    typename Kind::sum c[kRows][kColumns];
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) c[i][j] = Kind::start(s.start, row + i);
    const std::int32_t* keys = s.k + key / kStrip * s.k_strip + key % kStrip;
    dot_tile<S, Kind, kRows, kColumns>(s.q + row * s.q_ld, s.q_ld, keys, kStrip, s.steps, c, between);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) out[i][j] = Kind::to_float(c[i][j]);
  }
};

template <class S, class Kind>
struct TwoPlanes {
  using EveryCode = TwoPlanes<S, typename Kind::EveryCode>;
  template <int kRows, int kColumns, class Between>
  OCTAVO_INLINE void products(const ScoreStage& s, int row, std::int64_t key, typename S::f32 (&out)[kRows][kColumns],
                              Between&& between) {
    ScoreStage low = s;
    low.q = s.q_low;
    low.start = s.start_low;
    typename S::f32 part[kRows][kColumns];
    OnePlane<S, Kind>::products(low, row, key, part, NoWork{});
    OnePlane<S, Kind>::products(s, row, key, out, between);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kColumns; ++j) out[i][j] = S::fma(out[i][j], S::set1(256.0f), part[i][j]);
  }
};

template <class S, class Product, class Between>
OCTAVO_INLINE void score_tiles(const ScoreStage& stage, Between&& between) {
  constexpr int kRows = S::kTileRows, kColumns = S::kTileColumns, kLanes = S::kLanes;
  const ScoreStage s = stage;  // a local copy: vector stores may alias anything behind a reference
  alignas(64) float maxima[kGroupRows * kLanes];
  for (int i = 0; i < kGroupRows; ++i) S::store(maxima + i * kLanes, S::set1(-__builtin_inff()));
  for (std::int64_t key = 0; key < s.keys; key += kColumns * kLanes) {
    typename S::f32 factor[kColumns], addend[kColumns];
    for (int row = 0; row < s.rows; row += kRows) {
      typename S::f32 t[kRows][kColumns];
      Product::products(s, row, key, t, between);
#pragma GCC unroll 8
      for (int j = 0; j < kColumns; ++j) {
        factor[j] = S::load(s.key_factor + key + j * kLanes);
        addend[j] = S::load(s.key_addend + key + j * kLanes);
      }
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const auto row_factor = S::set1(s.row_factor[row + i]);
        float* scores = s.scores + (row + i) * s.ld + key;
        float* maximum = maxima + (row + i) * kLanes;
        auto best = S::load(maximum);
#pragma GCC unroll 8
        for (int j = 0; j < kColumns; ++j) {
          const auto logit = S::fma(S::mul(t[i][j], factor[j]), row_factor, addend[j]);
          S::store(scores + j * kLanes, logit);
          best = S::max(logit, best);
        }
        S::store(maximum, best);
      }
    }
  }
  for (int i = 0; i < kGroupRows; i += kLanes) S::store(s.row_max + i, S::row_max(maxima + i * kLanes));
}

template <class S, class Product>
void score_stage(const ScoreStage& stage) {
  if constexpr (!S::kTakesEveryCode) {
    if (stage.minus_128) return score_tiles<S, typename Product::EveryCode>(stage, NoWork{});
  }
  score_tiles<S, Product>(stage, NoWork{});
}

}  // namespace
}  // namespace octavo::cpu
