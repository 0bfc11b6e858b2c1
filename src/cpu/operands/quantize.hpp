// The quantizer (spec/scale.hpp) on dense padded rows, bit for bit.
#pragma once

#include "cpu/operands/load.hpp"
#include "cpu/simd/policy.hpp"
#include "spec/mean.hpp"
#include "spec/scale.hpp"

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

// Ranges of up to kLanes rows at once: a row leaves one vector, its channels' largest magnitudes, and a transposing
// reduction serves all rows. Magnitudes are compared as integers: the same order, and what is not finite comes out on
// top.
template <class S>
class RangesOfRows {
 public:
  inline __attribute__((always_inline)) void add(typename S::s32 magnitudes) {
    S::store(rows_ + count_++ * S::kLanes, S::from_bits(magnitudes));
    most_ = S::max_s32(most_, magnitudes);
  }
  // Ranges of the rows added; false where one is not finite: they must be ranged one by one.
  inline __attribute__((always_inline)) bool finish(RowRange* ranges) {
    if (!S::all(S::is_finite(S::from_bits(most_)))) return false;
    alignas(64) float amax[S::kLanes];
    S::store(amax, S::row_max(rows_));
    for (int r = 0; r < count_; ++r) ranges[r] = {amax[r], true};
    return true;
  }

 private:
  alignas(64) float rows_[S::kLanes * S::kLanes] = {};
  typename S::s32 most_ = S::set1(0);
  int count_ = 0;
};

template <class S>
OCTAVO_INLINE typename S::s32 magnitude(typename S::f32 x) {
  return S::bits(S::abs(x));
}

// Integer codes of one vector; 0 for what is not finite.
template <class S>
OCTAVO_INLINE typename S::s32 codes_of(typename S::f32 x, typename S::f32 inverse, typename S::f32 range) {
  auto scaled = S::mul(x, inverse);
  scaled = S::select(S::is_finite(x), scaled, S::set1(0.0f));
  scaled = S::max(S::sub(S::set1(0.0f), range), S::min(range, scaled));
  return S::round_to_s32(scaled);
}

// codes[0..padded(dim)) of a finite row, as bytes; returns their sum. |x| is at most the amax that the scale was made
// from, so the product exceeds the range by less than it takes to round away from it: nothing is left to clamp.
template <class S>
OCTAVO_INLINE std::int32_t quantize_row(const float* x, std::int64_t dim, float inverse, std::int8_t* codes) {
  const auto factor = S::set1(inverse);
  auto sum = S::set1(0.0f);
  for (std::int64_t d = 0; d < padded(dim); d += 4 * S::kLanes) {
    typename S::s32 c[4];
    for (int u = 0; u < 4; ++u) {
      c[u] = S::round_to_s32(S::mul(S::load(x + d + u * S::kLanes), factor));
      sum = S::add(sum, S::to_f32(c[u]));  // whole numbers below 2^24: exact
    }
    S::store_s8x4(codes + d, c[0], c[1], c[2], c[3]);
  }
  return static_cast<std::int32_t>(S::reduce_add(sum));
}

// Rows [count][width] less `mean` (null: as they are), and their ranges.
template <class S>
OCTAVO_INLINE void centre_rows(float* rows, std::int64_t count, std::int64_t width, std::int64_t dim, const float* mean,
                               RowRange* ranges) {
  for (std::int64_t first = 0; first < count; first += S::kLanes) {
    RangesOfRows<S> batch;
    const std::int64_t last = first + S::kLanes < count ? first + S::kLanes : count;
    for (std::int64_t r = first; r < last; ++r) {
      float* x = rows + r * width;
      auto most = S::set1(0);
      for (std::int64_t d = 0; d < width; d += S::kLanes) {
        auto v = S::load(x + d);
        if (mean != nullptr) {
          v = S::sub(v, S::load(mean + d));
          S::store(x + d, v);
        }
        most = S::max_s32(most, magnitude<S>(v));
      }
      batch.add(most);
    }
    if (!batch.finish(ranges + first))
      for (std::int64_t r = first; r < last; ++r) ranges[r] = row_range<S>(rows + r * width, dim);
  }
}

// Channel sums of one block of a mean (spec/mean.hpp), a row at a time: sums[c] += x[c]. Where something is not finite
// the sums are no numbers, and are taken anew with add_finite_to_sums.
template <class S>
OCTAVO_INLINE void add_to_sums(const float* x, std::int64_t dim, float* sums) {
  for (std::int64_t d = 0; d < dim; d += S::kLanes) S::store(sums + d, S::add(S::load(sums + d), S::load(x + d)));
}
template <class S>
OCTAVO_INLINE bool sums_are_finite(const float* sums, std::int64_t dim) {
  auto poison = S::set1(0.0f);
  for (std::int64_t d = 0; d < dim; d += S::kLanes) poison = S::fma(S::load(sums + d), S::set1(0.0f), poison);
  return S::all(S::is_finite(poison));
}
// As spec/mean.hpp defines it: finite values only, counts[c] += 1 for each.
template <class S>
OCTAVO_INLINE void add_finite_to_sums(const float* x, std::int64_t dim, float* sums, float* counts) {
  for (std::int64_t d = 0; d < dim; d += S::kLanes) {
    const auto v = S::load(x + d);
    const auto finite = S::is_finite(v);
    S::store(sums + d, S::add(S::load(sums + d), S::select(finite, v, S::set1(0.0f))));
    S::store(counts + d, S::add(S::load(counts + d), S::select(finite, S::set1(1.0f), S::set1(0.0f))));
  }
}

// sums[0..width) and counts[0..width) of `rows` rows that row(r) hands out (dense, padded).
template <class S, class Row>
OCTAVO_INLINE void sum_rows(std::int64_t rows, std::int64_t dim, float* sums, float* counts, const Row& row) {
  for (std::int64_t d = 0; d < padded(dim); ++d) sums[d] = 0, counts[d] = static_cast<float>(rows);
  for (std::int64_t r = 0; r < rows; ++r) add_to_sums<S>(row(r), dim, sums);
  if (sums_are_finite<S>(sums, dim)) return;
  for (std::int64_t d = 0; d < padded(dim); ++d) sums[d] = counts[d] = 0;
  for (std::int64_t r = 0; r < rows; ++r) add_finite_to_sums<S>(row(r), dim, sums, counts);
}

}  // namespace
}  // namespace octavo::cpu
