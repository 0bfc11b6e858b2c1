// The quantizer law (laws/scale.hpp) on dense padded rows, bit for bit.
#pragma once

#include "cpu/kernels/rows.hpp"
#include "cpu/simd/policy.hpp"
#include "laws/mean.hpp"
#include "laws/scale.hpp"

namespace octavo::cpu {
namespace {

// Largest finite magnitude of a row, and whether all of it is finite.
struct RowRange {
  float amax;
  bool finite;
};

template <class S>
OCTAVO_INLINE RowRange row_range(const float* x, std::int64_t dim) {
  auto best = S::set1(0.0f);
  // The sum of |x| * 0 is 0, or NaN where one value is not finite.
  auto poison = S::set1(0.0f);
  for (std::int64_t d = 0; d < dim; d += S::kLanes) {
    const auto v = S::abs(S::load(x + d));
    best = S::max(v, best);
    poison = S::fma(v, S::set1(0.0f), poison);
  }
  if (S::all(S::is_finite(poison))) return {S::reduce_max(best), true};
  best = S::set1(0.0f);
  for (std::int64_t d = 0; d < dim; d += S::kLanes) {
    const auto v = S::abs(S::load(x + d));
    best = S::max(S::select(S::is_finite(v), v, S::set1(0.0f)), best);
  }
  return {S::reduce_max(best), false};
}

// Integer codes of one vector; 0 for what is not finite.
template <class S>
OCTAVO_INLINE typename S::s32 codes_of(typename S::f32 x, typename S::f32 inverse, typename S::f32 range) {
  auto scaled = S::mul(x, inverse);
  scaled = S::select(S::is_finite(x), scaled, S::set1(0.0f));
  scaled = S::max(S::sub(S::set1(0.0f), range), S::min(range, scaled));
  return S::round_to_s32(scaled);
}

// codes[0..padded(dim)) of a row, as bytes; returns their sum.
template <class S>
OCTAVO_INLINE std::int32_t quantize_row(const float* x, std::int64_t dim, float inverse, float range,
                                        std::int8_t* codes) {
  const auto factor = S::set1(inverse), limit = S::set1(range);
  std::int32_t total = 0;
  auto sum = S::set1(0.0f);
  for (std::int64_t d = 0; d < padded(dim); d += 4 * S::kLanes) {
    typename S::s32 c[4];
    for (int u = 0; u < 4; ++u) {
      c[u] = codes_of<S>(S::load(x + d + u * S::kLanes), factor, limit);
      sum = S::add(sum, S::to_f32(c[u]));  // whole numbers below 2^24: exact
    }
    S::store_s8x4(codes + d, c[0], c[1], c[2], c[3]);
  }
  total = static_cast<std::int32_t>(S::reduce_add(sum));
  return total;
}

// sums[c] += the row's finite values, counts[c] += 1 for each: one row of the mean law.
template <class S>
OCTAVO_INLINE void add_to_sums(const float* x, std::int64_t dim, float* sums, float* counts) {
  for (std::int64_t d = 0; d < dim; d += S::kLanes) {
    const auto v = S::load(x + d);
    const auto finite = S::is_finite(v);
    S::store(sums + d, S::add(S::load(sums + d), S::select(finite, v, S::set1(0.0f))));
    S::store(counts + d, S::add(S::load(counts + d), S::select(finite, S::set1(1.0f), S::set1(0.0f))));
  }
}

}  // namespace
}  // namespace octavo::cpu
