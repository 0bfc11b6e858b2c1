// Third stage: O = alpha * O + beta * (P V). Integer products of one key block are exact; they become floats once.
#pragma once

#include "cpu/kernels/dot_tile.hpp"
#include "cpu/kernels/stages.hpp"

namespace octavo::cpu {
namespace {

template <class S, class Kind, int kColumns, bool kRescale>
OCTAVO_INLINE void value_tile(const ValueStage& s, int row, std::int64_t column) {
  constexpr int kRows = S::kTileRows;
  typename Kind::sum c[kRows][kColumns];
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kColumns; ++j) c[i][j] = Kind::start(s.start, column + j * S::kLanes);
  dot_tile<S, Kind, kRows, kColumns>(s.weights + row * s.p_ld, s.p_ld, s.v + column, s.columns, s.steps, c, NoWork{});
  typename S::f32 scale[kColumns];
  if (s.column_scale != nullptr) {
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) scale[j] = S::load(s.column_scale + column + j * S::kLanes);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    const auto alpha = S::set1(s.alpha[row + i]);
    const auto beta = S::set1(s.beta[row + i]);
    float* out = s.out + (row + i) * s.columns + column;
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) {
      auto x = Kind::to_float(c[i][j]);
      if (s.column_scale != nullptr) x = S::mul(x, scale[j]);
      auto kept = S::load(out + j * S::kLanes);
      if constexpr (kRescale) kept = S::mul(kept, alpha);
      S::store(out + j * S::kLanes, S::fma(x, beta, kept));
    }
  }
}

template <class S, class Kind, bool kRescale>
OCTAVO_INLINE void value_rows(const ValueStage& s) {
  constexpr int kColumns = S::kTileColumns, kLanes = S::kLanes;
  const std::int64_t rest = s.columns / (kColumns * kLanes) * (kColumns * kLanes);
  for (int row = 0; row < s.rows; row += S::kTileRows) {
    for (std::int64_t column = 0; column < rest; column += kColumns * kLanes)
      value_tile<S, Kind, kColumns, kRescale>(s, row, column);
    for (std::int64_t column = rest; column < s.columns; column += kLanes)
      value_tile<S, Kind, 1, kRescale>(s, row, column);
  }
}

template <class S, class Kind>
void value_stage(const ValueStage& stage) {
  const ValueStage s = stage;  // a local copy: vector stores may alias anything behind a reference
  if (s.rescale) {
    value_rows<S, Kind, true>(s);
  } else {
    value_rows<S, Kind, false>(s);
  }
}

}  // namespace
}  // namespace octavo::cpu
