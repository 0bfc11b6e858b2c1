// Sums and extremes of channels over a few rows, at most 128, with the rows' largest magnitudes. Subtracting a mean is
// monotone, rounding included, so the range of x - mean follows from a channel's extremes, to the bit.
#pragma once

#include "cpu/operands/load_transform.hpp"
#include "cpu/operands/row_scales.hpp"
#include "spec/mean.hpp"

namespace octavo::cpu {
namespace {

template <class S>
OCTAVO_INLINE void clear_extremes(const ChannelExtremes& c, std::int64_t width) {
  for (std::int64_t d = 0; d < width; d += S::kLanes) {
    S::store(c.low + d, S::set1(__builtin_inff()));
    S::store(c.high + d, S::set1(-__builtin_inff()));
    S::store(c.nonfinite + d, S::set1(0.0f));
  }
}

// Adds a transformed row; `nonfinite` becomes NaN where a value is not finite.
template <class S>
OCTAVO_INLINE void widen_extremes(const ChannelExtremes& c, const float* row, std::int64_t dim) {
  for (std::int64_t d = 0; d < dim; d += S::kLanes) {
    const auto x = S::load(row + d), low = S::load(c.low + d), high = S::load(c.high + d);
    const auto finite = S::is_finite(x);
    S::store(c.low + d, S::min(S::select(finite, x, low), low));
    S::store(c.high + d, S::max(S::select(finite, x, high), high));
    S::store(c.nonfinite + d, S::fma(x, S::set1(0.0f), S::load(c.nonfinite + d)));
  }
}

// Range of a channel after `mean` is subtracted; 0 where no value is finite.
OCTAVO_INLINE RowRange column_range(const ChannelExtremes& c, std::int64_t d, float mean) {
  RowRange range{0.0f, c.nonfinite[d] == 0};
  if (c.low[d] > c.high[d]) return range;
  const float below = __builtin_fabsf(c.low[d] - mean), above = __builtin_fabsf(c.high[d] - mean);
  range.amax = below > above ? below : above;
  return range;
}

// One operand's channels over the rows that row(r) hands out (dense, padded).
template <class S, class Row>
OCTAVO_INLINE void channel_stats_of_rows(const spec::ChannelNeeds& needs, const ChannelStats& to, std::int64_t rows,
                                         std::int64_t dim, const Row& row) {
  if (needs.extremes) clear_extremes<S>(to.extremes, padded(dim));
  const auto seen = [&](std::int64_t r) __attribute__((always_inline)) {
    const float* x = row(r);
    if (needs.extremes) widen_extremes<S>(to.extremes, x, dim);
    return x;
  };
  if (needs.sums)
    sum_rows<S>(rows, dim, to.sums, to.counts, seen);
  else
    for (std::int64_t r = 0; r < rows; ++r) seen(r);
}

// The sums alone, of rows that fit registers. False: take channel_stats_of_rows().
template <class S>
OCTAVO_INLINE bool sum_register_rows(const RowSource& source, std::int64_t from, std::int64_t last, std::int64_t dim,
                                     const std::int32_t* signs, const ChannelStats& to, float* magnitudes) {
  const Operand& x = source.tensor();
  bool ranged = true;
  const bool summed = with_register_rows<S>(x, dim, [&](auto vectors) __attribute__((always_inline)) {
    constexpr int kVectors = decltype(vectors)::value;
    typename S::f32 sums[kVectors], v[kVectors];
    for (auto& sum : sums) sum = S::set1(0.0f);
    source.for_each_span(from, last,
                         [&](std::int64_t row, std::int64_t at, std::int64_t count) __attribute__((always_inline)) {
                           for (std::int64_t first = 0; first < count; first += S::kLanes) {
                             RangesOfRows<S> batch;
                             const std::int64_t end = first + S::kLanes < count ? first + S::kLanes : count;
                             for (std::int64_t r = first; r < end; ++r) {
                               load_rotated<S, kVectors>(x, at + r * x.strides[2], signs, v);
                               auto most = S::set1(0);
#pragma GCC unroll 64
                               for (int i = 0; i < kVectors; ++i) {
                                 sums[i] = S::add(sums[i], v[i]);
                                 if (magnitudes != nullptr) most = S::max_s32(most, magnitude<S>(v[i]));
                               }
                               if (magnitudes != nullptr) batch.add(most);
                             }
                             if (magnitudes == nullptr) continue;
                             RowRange ranges[S::kLanes];
                             ranged = batch.finish(ranges) && ranged;
                             for (std::int64_t r = first; ranged && r < end; ++r)
                               magnitudes[row - from + r] = ranges[r - first].amax;
                           }
                         });
    store_vectors<S, kVectors>(sums, to.sums);
  });
  if (!summed || !ranged || !sums_are_finite<S>(to.sums, dim)) return false;
  for (std::int64_t d = 0; d < dim; ++d) to.counts[d] = static_cast<float>(last - from);
  return true;
}

template <class S, DType kDtype>
OCTAVO_INLINE typename S::f32 load_in(const void* p, std::int64_t at) {
  return load_as_f32<S>(kDtype, p, at);
}

// kVectors vectors of channels from d on: their sums and extremes, and what they add to the rows' largest magnitudes
// [rows][kLanes].
template <class S, DType kDtype, int kVectors>
OCTAVO_INLINE void stats_of_columns(const Operand& x, std::int64_t at, std::int64_t rows, std::int64_t d,
                                    const ChannelStats& to, float* most) {
  typename S::f32 sums[kVectors], low[kVectors], high[kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i)
    sums[i] = S::set1(0.0f), low[i] = S::set1(__builtin_inff()), high[i] = S::set1(-__builtin_inff());
  for (std::int64_t r = 0; r < rows; ++r) {
    auto largest = S::load(most + r * S::kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const auto v = load_in<S, kDtype>(x.data, at + r * x.strides[2] + d + i * S::kLanes);
      sums[i] = S::add(sums[i], v);
      low[i] = S::min(v, low[i]);
      high[i] = S::max(v, high[i]);
      largest = S::max(S::abs(v), largest);
    }
    S::store(most + r * S::kLanes, largest);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    S::store(to.sums + d + i * S::kLanes, sums[i]);
    S::store(to.extremes.low + d + i * S::kLanes, low[i]);
    S::store(to.extremes.high + d + i * S::kLanes, high[i]);
  }
}

template <class S, DType kDtype>
OCTAVO_INLINE void stats_of_all_columns(const Operand& x, std::int64_t at, std::int64_t rows, std::int64_t dim,
                                        const ChannelStats& to, float* most) {
  std::int64_t d = 0;
  for (; d + 4 * S::kLanes <= dim; d += 4 * S::kLanes) stats_of_columns<S, kDtype, 4>(x, at, rows, d, to, most);
  for (; d < dim; d += S::kLanes) stats_of_columns<S, kDtype, 1>(x, at, rows, d, to, most);
}

// Sums and extremes of rows as they were given, at most 128, a few channels at a time so that their statistics stay in
// registers; and the rows' largest magnitudes. False: something is not finite, or rows are not whole vectors; take
// channel_stats_of_rows().
template <class S>
OCTAVO_INLINE bool stats_of_given_rows(const RowSource& source, std::int64_t first, std::int64_t last, std::int64_t dim,
                                       const ChannelStats& to, float* magnitudes) {
  const Operand& x = source.tensor();
  const std::int64_t rows = last - first;
  const RowSource::Span span = source.span(first);
  if (x.quantized || x.strides[3] != 1 || dim % S::kLanes != 0 || rows <= 0 || span.count < rows) return false;
  alignas(64) float most[spec::kMeanBlock * S::kLanes] = {};
  if (x.dtype == DType::f32)
    stats_of_all_columns<S, DType::f32>(x, span.at, rows, dim, to, most);
  else if (x.dtype == DType::f16)
    stats_of_all_columns<S, DType::f16>(x, span.at, rows, dim, to, most);
  else
    stats_of_all_columns<S, DType::bf16>(x, span.at, rows, dim, to, most);
  for (std::int64_t d = dim; d < padded(dim); ++d) to.sums[d] = 0;
  if (!sums_are_finite<S>(to.sums, dim)) return false;
  for (std::int64_t d = 0; d < padded(dim); d += S::kLanes) {
    S::store(to.counts + d, S::set1(static_cast<float>(rows)));
    S::store(to.extremes.nonfinite + d, S::set1(0.0f));
  }
  alignas(64) float of_rows[S::kLanes];
  for (std::int64_t r = 0; magnitudes != nullptr && r < rows; r += S::kLanes) {
    S::store(of_rows, S::row_max(most + r * S::kLanes));
    for (std::int64_t i = 0; i < S::kLanes && r + i < rows; ++i) magnitudes[r + i] = of_rows[i];
  }
  return true;
}
}  // namespace
}  // namespace octavo::cpu
