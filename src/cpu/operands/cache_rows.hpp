// Rows of K and V on their way into a key-value cache: converted, or rotated, less the frozen mean and quantized; then
// scattered into the order of spec/cache_layout.hpp. The codes are those of quantize() bit for bit.
#pragma once

#include <cstring>

#include "core/cache_problem.hpp"
#include "cpu/operands/load_transform.hpp"
#include "spec/cache_layout.hpp"
#include "spec/mean.hpp"
#include "spec/scale.hpp"

namespace octavo::cpu {
namespace {

// One operand of a cache, K or V: what differs between them.
struct CacheSide {
  Operand x;
  bool is_k;
  std::int64_t dim, columns;
  std::byte* data;
  float* scale;
  const float* mean;  // null: nothing is subtracted
  std::uint16_t* kept;
  float* kept_unit;
};

OCTAVO_INLINE std::int64_t cache_index(const CacheView& cache, const CacheSide& side, std::int64_t token,
                                       std::int64_t channel) {
  return side.is_k ? spec::cache_k_index(cache.format, token, channel)
                   : spec::cache_v_index(cache.format, side.columns, token, channel);
}

// The kept copy of a transformed row.
template <class S>
OCTAVO_INLINE void keep_row(const CacheSide& side, std::int64_t slot, const float* x, RowRange range) {
  const float unit = range.finite ? spec::kept_row_unit(range.amax) : 1.0f;
  alignas(64) std::uint16_t row[kMaxPadded];
  const auto inverse = S::set1(1.0f / unit);  // a power of two: exact
  for (std::int64_t d = 0; d < padded(side.dim); d += S::kLanes) S::store_f16(row + d, S::mul(S::load(x + d), inverse));
  std::memcpy(side.kept + slot * side.columns, row, static_cast<std::size_t>(side.columns) * 2);
  side.kept_unit[slot] = range.finite ? unit : __builtin_nanf("");
}

// A row of codes of s4: K's words are the token's own, V's are shared with other tokens.
OCTAVO_INLINE void store_s4_row(const CacheView& cache, const CacheSide& side, std::int64_t strip_row,
                                std::int64_t token, const std::int8_t* codes) {
  auto* strip = reinterpret_cast<std::uint8_t*>(side.data) + strip_row * side.columns / 2;
  if (side.is_k) {
    for (std::int64_t d = 0; d < side.columns; d += 8) {
      std::uint32_t word = 0;
      for (std::int64_t i = 0; i < 8; ++i)
        word |= (static_cast<std::uint32_t>(codes[d + i]) & 15u) << (4 * spec::cache_nibble(i));
      std::memcpy(strip + spec::cache_k_index(DType::s4, token, d) / 2, &word, 4);
    }
    return;
  }
  for (std::int64_t d = 0; d < side.columns; ++d) {
    const std::int64_t at = cache_index(cache, side, token, d);
    const int shift = static_cast<int>(at % 2) * 4;
    strip[at / 2] = static_cast<std::uint8_t>((strip[at / 2] & ~(15 << shift)) | (codes[d] & 15) << shift);
  }
}

template <class S>
OCTAVO_INLINE void append_code_row(const CacheView& cache, const CacheSide& side, const CacheAppend& entry,
                                   std::int64_t head, std::int64_t row, const std::int32_t* signs) {
  alignas(64) float x[kMaxPadded];
  alignas(64) std::int8_t codes[kMaxPadded];
  load_transformed<S>(side.x, row, side.dim, signs, x);
  for (std::int64_t d = 0; side.mean != nullptr && d < padded(side.dim); d += S::kLanes)
    S::store(x + d, S::sub(S::load(x + d), S::load(side.mean + d)));
  const RowRange range = row_range<S>(x, side.dim);
  const float most = spec::cache_range(cache.format);
  const spec::Scale scale = spec::scale_of(range.amax, most, side.is_k ? 1.0f : 0.0f);
  if (range.finite) {
    quantize_row<S>(x, side.dim, scale.inverse, codes);
  } else {
    for (std::int64_t d = 0; d < padded(side.dim); ++d)
      codes[d] = d < side.dim ? static_cast<std::int8_t>(spec::integer_code(x[d], scale.inverse, most)) : 0;
  }
  const std::int64_t at = cache.row(entry.sequence, head, entry.first), strip_row = at / kCacheStrip * kCacheStrip;
  side.scale[at] = range.finite ? scale.scale : __builtin_nanf("");
  const std::int64_t token = at % kCacheStrip;
  if (cache.format == DType::s4) {
    store_s4_row(cache, side, strip_row, token, codes);
  } else {
    auto* strip = reinterpret_cast<std::int8_t*>(side.data) + strip_row * side.columns;
    if (side.is_k) {
      for (std::int64_t d = 0; d < side.columns; d += 4)
        std::memcpy(strip + spec::cache_k_index(DType::s8, token, d), codes + d, 4);
    } else {
      for (std::int64_t d = 0; d < side.columns; ++d)
        strip[spec::cache_v_index(DType::s8, side.columns, token, d)] = codes[d];
    }
  }
  if (side.kept == nullptr) return;
  if (entry.first == 0) keep_row<S>(side, cache.kept_slot(entry.sequence, head, 0), x, range);
  keep_row<S>(side, cache.kept_slot(entry.sequence, head, 1 + entry.first % kKeptRing), x, range);
}

// E4M3 with the token's scale: as they are, neither rotated nor centred.
template <class S>
OCTAVO_INLINE void append_e4m3_row(const CacheView& cache, const CacheSide& side, const CacheAppend& entry,
                                   std::int64_t head, std::int64_t row) {
  alignas(64) float x[kMaxPadded];
  alignas(64) std::uint16_t halves[kMaxPadded];
  load_row<S>(side.x, row, side.dim, x);
  const RowRange range = row_range<S>(x, side.dim);
  const spec::Scale scale = spec::scale_of(range.amax, spec::kRangeE4m3, side.is_k ? 1.0f : 0.0f);
  // The number over 256 as f16 has the code's bits (simd's load_e4m3).
  for (std::int64_t d = 0; range.finite && d < padded(side.dim); d += S::kLanes) {
    const auto number = round_e4m3<S>(S::mul(S::load(x + d), S::set1(scale.inverse)));
    S::store_f16(halves + d, S::mul(number, S::set1(1.0f / 256)));
  }
  const std::int64_t at = cache.row(entry.sequence, head, entry.first), token = at % kCacheStrip;
  auto* strip = reinterpret_cast<std::uint8_t*>(side.data) + at / kCacheStrip * kCacheStrip * side.columns;
  side.scale[at] = range.finite ? scale.scale : __builtin_nanf("");
  for (std::int64_t d = 0; d < side.columns; ++d) {
    std::uint8_t& code = strip[cache_index(cache, side, token, d)];
    if (d >= side.dim)
      code = 0;
    else if (range.finite)  // the sign of what was rounded to zero stays
      code = static_cast<std::uint8_t>((bits_of_f32(x[d] * scale.inverse) >> 24 & 0x80u) | (halves[d] >> 7 & 0x7f));
    else
      code = spec::e4m3_code(x[d], scale.inverse);
  }
}

template <class S>
OCTAVO_INLINE void append_float_row(const CacheView& cache, const CacheSide& side, const CacheAppend& entry,
                                    std::int64_t head, std::int64_t row) {
  alignas(64) float x[kMaxPadded];
  alignas(64) std::byte converted[kMaxPadded * 4];
  const std::int64_t size = size_of_float(cache.format);
  load_row<S>(side.x, row, side.dim, x);
  for (std::int64_t d = 0; d < padded(side.dim); d += S::kLanes)
    store_as<S>(cache.format, converted, d, S::load(x + d));
  const std::int64_t at = cache.row(entry.sequence, head, entry.first), token = at % kCacheStrip;
  std::byte* strip = side.data + at / kCacheStrip * kCacheStrip * side.columns * size;
  if (!side.is_k) {
    std::memcpy(strip + token * side.columns * size, converted, static_cast<std::size_t>(side.columns * size));
    return;
  }
  for (std::int64_t d = 0; d < side.columns; ++d)
    std::memcpy(strip + spec::cache_k_index(cache.format, token, d) * size, converted + d * size,
                static_cast<std::size_t>(size));
}

// The mean over the tokens of the first append, of rotated rows (spec/mean.hpp).
template <class S>
OCTAVO_INLINE void fix_mean(const CacheSide& side, std::int64_t b, std::int64_t head, std::int64_t rows,
                            const std::int32_t* signs, float* mean) {
  alignas(64) float sums[kMaxPadded] = {}, counts[kMaxPadded] = {}, block_sums[kMaxPadded], block_counts[kMaxPadded];
  alignas(64) float x[kMaxPadded];
  for (std::int64_t first = 0; first < rows; first += spec::kMeanBlock) {
    const std::int64_t count = rows - first < spec::kMeanBlock ? rows - first : spec::kMeanBlock;
    sum_rows<S>(count, side.dim, block_sums, block_counts, [&](std::int64_t r) __attribute__((always_inline)) {
      load_transformed<S>(side.x, side.x.offset(b, head, first + r), side.dim, signs, x);
      return static_cast<const float*>(x);
    });
    for (std::int64_t d = 0; d < side.dim; ++d) sums[d] += block_sums[d], counts[d] += block_counts[d];
  }
  for (std::int64_t d = 0; d < padded(side.dim); ++d)
    mean[d] = d < side.dim ? spec::mean_of(sums[d], static_cast<std::int64_t>(counts[d])) : 0.0f;
}

// One entry and KV head of an append.
template <class S>
void append_cache_rows(const CacheAppendProblem& problem, std::int64_t i, std::int64_t head) {
  const CacheView& cache = problem.cache;
  const CacheAppend& entry = problem.entries[i];
  alignas(64) std::int32_t signs[kMaxPadded];
  float* mean = cache.rotated() ? cache.k_mean + cache.head(entry.sequence, head) * cache.mean_columns : nullptr;
  const CacheSide sides[2] = {
      {problem.k, true, cache.head_dim, cache.k_columns, cache.k, cache.k_scale, mean, cache.kept_k, cache.kept_k_unit},
      {problem.v, false, cache.value_dim, cache.v_columns, cache.v, cache.v_scale, nullptr, cache.kept_v,
       cache.kept_v_unit}};
  for (const CacheSide& side : sides) {
    rotation_signs(signs, side.dim);
    if (side.is_k && mean != nullptr && entry.fixes_mean) {
      if (entry.rows >= spec::kCacheMeanRows)
        fix_mean<S>(side, i, head, entry.rows, signs, mean);
      else
        for (std::int64_t d = 0; d < cache.mean_columns; ++d) mean[d] = 0;
    }
    CacheAppend row = entry;
    for (std::int64_t r = 0; r < entry.rows; ++r, ++row.first) {
      const std::int64_t from = side.x.offset(i, head, r);
      if (cache.rotated())
        append_code_row<S>(cache, side, row, head, from, signs);
      else if (cache.format == DType::e4m3)
        append_e4m3_row<S>(cache, side, row, head, from);
      else
        append_float_row<S>(cache, side, row, head, from);
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
