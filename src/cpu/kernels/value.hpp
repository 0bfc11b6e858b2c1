// Third stage: O = alpha * O + beta * (P V). Integer products of one key block are exact; they become floats once.
#pragma once

#include "cpu/kernels/dot_tile.hpp"
#include "cpu/kernels/stages.hpp"

namespace octavo::cpu {
namespace {

template <class S, class Kind, int kColumns>
OCTAVO_INLINE void value_tile(const ValueStage& s, int row, std::int64_t column) {
  constexpr int kRows = S::kTileRows;
  typename Kind::sum c[kRows][kColumns];
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kColumns; ++j) c[i][j] = Kind::start(s.start, column + j * S::kLanes);
  dot_tile<S, Kind, kRows, kColumns>(s.weights + row * s.p_ld, s.p_ld, s.v + column, s.columns, s.steps, c);
  for (int i = 0; i < kRows; ++i) {
    const auto alpha = S::set1(s.alpha[row + i]);
    const auto beta = S::set1(s.beta[row + i]);
    for (int j = 0; j < kColumns; ++j) {
      float* out = s.out + (row + i) * s.columns + column + j * S::kLanes;
      auto x = Kind::to_float(c[i][j]);
      if (s.column_scale != nullptr) x = S::mul(x, S::load(s.column_scale + column + j * S::kLanes));
      S::store(out, S::fma(x, beta, S::mul(S::load(out), alpha)));
    }
  }
}

template <class S, class Kind>
void value_stage(const ValueStage& s) {
  constexpr int kColumns = S::kTileColumns, kLanes = S::kLanes;
  const std::int64_t tiles = s.columns / (kColumns * kLanes);
  const std::int64_t rest = tiles * kColumns * kLanes;
  for (int row = 0; row < s.rows; row += S::kTileRows)
    for (std::int64_t tile = 0; tile < tiles; ++tile) value_tile<S, Kind, kColumns>(s, row, tile * kColumns * kLanes);
  for (int row = 0; row < s.rows; row += S::kTileRows) {
    switch ((s.columns - rest) / kLanes) {
      case 1: value_tile<S, Kind, 1>(s, row, rest); break;
      case 2: value_tile<S, Kind, kColumns >= 2 ? 2 : 1>(s, row, rest); break;
      case 3: value_tile<S, Kind, kColumns >= 3 ? 3 : 1>(s, row, rest); break;
      default: break;
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
