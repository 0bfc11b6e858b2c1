// A product of small f32 matrices, for the keys that are computed exactly: C [rows][cols] = A [rows][depth] times
// B [depth][cols]. cols is a multiple of the lanes. Register tiles of 6 and 4 rows by 2 vectors, of 8 rows by the last
// one: 8 chains of sums hide FMA's latency.
#pragma once

#include "cpu/simd/policy.hpp"

namespace octavo::cpu {
namespace {

// A stretch of the contracted axis: columns of A, rows of B.
struct FloatDepth {
  const float* a;
  const float* b;
  std::int64_t depth;
};

struct FloatProduct {
  FloatDepth parts[2];  // summed one after the other
  std::int64_t a_ld, b_ld;
  float* c;
  std::int64_t c_ld;
};

template <class S, int kRows, int kVectors>
OCTAVO_INLINE void float_tile(const FloatProduct& p, std::int64_t row, std::int64_t col) {
  typename S::f32 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int u = 0; u < kVectors; ++u) sum[i][u] = S::set1(0.0f);
  const std::int64_t a_ld = p.a_ld, b_ld = p.b_ld;
  for (const FloatDepth& part : p.parts) {
    const float* a = part.a + row * a_ld;
    const float* b = part.b + col;
    for (std::int64_t d = 0; d < part.depth; ++d, b += b_ld) {
      typename S::f32 x[kVectors];
#pragma GCC unroll 2
      for (int u = 0; u < kVectors; ++u) x[u] = S::load(b + u * S::kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const auto y = S::set1(a[i * a_ld + d]);
#pragma GCC unroll 2
        for (int u = 0; u < kVectors; ++u) sum[i][u] = S::fma(y, x[u], sum[i][u]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int u = 0; u < kVectors; ++u) S::store(p.c + (row + i) * p.c_ld + col + u * S::kLanes, sum[i][u]);
}

template <class S>
__attribute__((noinline)) void float_product(const FloatProduct& p, std::int64_t rows, std::int64_t cols) {
  std::int64_t col = 0;
  for (; col + 2 * S::kLanes <= cols; col += 2 * S::kLanes) {
    std::int64_t row = 0;
    for (; row + 10 <= rows; row += 6) float_tile<S, 6, 2>(p, row, col);
    for (; row + 4 <= rows; row += 4) float_tile<S, 4, 2>(p, row, col);
    for (; row < rows; ++row) float_tile<S, 1, 2>(p, row, col);
  }
  for (; col < cols; col += S::kLanes) {
    std::int64_t row = 0;
    for (; row + 8 <= rows; row += 8) float_tile<S, 8, 1>(p, row, col);
    for (; row < rows; ++row) float_tile<S, 1, 1>(p, row, col);
  }
}

}  // namespace
}  // namespace octavo::cpu
