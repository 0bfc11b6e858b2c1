// A product of small f32 matrices, for the keys that are computed exactly: C [rows][cols] (+)= A [rows][depth] times
// B [depth][cols]. cols is a multiple of the lanes; register tiles of 4 rows by 2 vectors, then what remains.
#pragma once

#include "cpu/simd/policy.hpp"

namespace octavo::cpu {
namespace {

struct FloatProduct {
  const float* a;
  std::int64_t a_ld;
  const float* b;
  std::int64_t b_ld;
  float* c;
  std::int64_t c_ld;
  std::int64_t depth;
  bool add;  // to what stands in C
};

template <class S, int kRows, int kVectors>
OCTAVO_INLINE void float_tile(const FloatProduct& p, std::int64_t row, std::int64_t col) {
  typename S::f32 sum[kRows][kVectors];
  const float* a[kRows];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    a[i] = p.a + (row + i) * p.a_ld;
#pragma GCC unroll 2
    for (int u = 0; u < kVectors; ++u)
      sum[i][u] = p.add ? S::load(p.c + (row + i) * p.c_ld + col + u * S::kLanes) : S::set1(0.0f);
  }
  const float* b = p.b + col;
  for (std::int64_t d = 0; d < p.depth; ++d, b += p.b_ld) {
    typename S::f32 x[kVectors];
#pragma GCC unroll 2
    for (int u = 0; u < kVectors; ++u) x[u] = S::load(b + u * S::kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const auto y = S::set1(a[i][d]);
#pragma GCC unroll 2
      for (int u = 0; u < kVectors; ++u) sum[i][u] = S::fma(y, x[u], sum[i][u]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int u = 0; u < kVectors; ++u) S::store(p.c + (row + i) * p.c_ld + col + u * S::kLanes, sum[i][u]);
}

template <class S, int kRows>
OCTAVO_INLINE void float_rows(const FloatProduct& p, std::int64_t row, std::int64_t cols) {
  std::int64_t col = 0;
  for (; col + 2 * S::kLanes <= cols; col += 2 * S::kLanes) float_tile<S, kRows, 2>(p, row, col);
  for (; col < cols; col += S::kLanes) float_tile<S, kRows, 1>(p, row, col);
}

template <class S>
__attribute__((noinline)) void float_product(const FloatProduct& p, std::int64_t rows, std::int64_t cols) {
  std::int64_t row = 0;
  for (; row + 4 <= rows; row += 4) float_rows<S, 4>(p, row, cols);
  for (; row < rows; ++row) float_rows<S, 1>(p, row, cols);
}

}  // namespace
}  // namespace octavo::cpu
