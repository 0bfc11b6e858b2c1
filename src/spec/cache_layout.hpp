// The order of elements inside a strip of 16 tokens of a key-value cache, and the rules of attention over one that the
// reference and the kernels share.
//   K, floats   [channels][16]                 a vector of keys for each channel
//   K, s8       [channels / 4][16][4]          a word holds 4 channels of a key
//   K, s4       [channels / 8][16][8]          a word holds 8 channels of a key
//   V, floats   [16][channels]
//   V, s8       [4][channels][4]               a word holds one channel of 4 consecutive tokens
//   V, s4       [2][channels][8]               a word holds one channel of 8 consecutive tokens
// Floats include e4m3. The eight codes of a word of s4 are in the order 0 1 4 5 2 3 6 7 from its low bits on: the low
// and the high nibbles of its bytes meet the bytes (0, 4, 2, 6) and (1, 5, 3, 7) of Q and of weights.
// Channels are padded with zeros: K's to a multiple of 8, V's to one of 16. Scales: f32 [16], one per token.
#pragma once

#include <cstdint>

#include "core/cache_problem.hpp"
#include "core/float_types.hpp"
#include "core/inline.hpp"
#include "spec/kept_keys.hpp"
#include "spec/scale.hpp"
#include "spec/visibility.hpp"

namespace octavo::spec {

OCTAVO_INLINE constexpr std::int64_t cache_k_columns(std::int64_t dim) { return (dim + 7) / 8 * 8; }
OCTAVO_INLINE constexpr std::int64_t cache_v_columns(std::int64_t dim) { return (dim + 15) / 16 * 16; }
OCTAVO_INLINE constexpr std::int64_t cache_mean_columns(std::int64_t dim) { return (dim + 63) / 64 * 64; }

// The nibble of code i of a word of s4.
OCTAVO_INLINE constexpr std::int64_t cache_nibble(std::int64_t i) { return (i & 1) | (i & 4) >> 1 | (i & 2) << 1; }

// Element index inside the strip; of s4 two elements share a byte, the even one in its low nibble.
OCTAVO_INLINE constexpr std::int64_t cache_k_index(DType format, std::int64_t token, std::int64_t channel) {
  if (format == DType::s8) return (channel / 4 * kCacheStrip + token) * 4 + channel % 4;
  if (format == DType::s4) return (channel / 8 * kCacheStrip + token) * 8 + cache_nibble(channel % 8);
  return channel * kCacheStrip + token;
}
OCTAVO_INLINE constexpr std::int64_t cache_v_index(DType format, std::int64_t columns, std::int64_t token,
                                                   std::int64_t channel) {
  if (format == DType::s8) return (token / 4 * columns + channel) * 4 + token % 4;
  if (format == DType::s4) return (token / 8 * columns + channel) * 8 + cache_nibble(token % 8);
  return token * columns + channel;
}

// Formats of rotated rows: integer codes with K's mean subtracted.
OCTAVO_INLINE constexpr bool cache_rotates(DType format) { return format == DType::s8 || format == DType::s4; }
// Formats with a scale for each token.
OCTAVO_INLINE constexpr bool cache_has_scales(DType format) { return cache_rotates(format) || format == DType::e4m3; }
// The number that a token's largest magnitude becomes.
OCTAVO_INLINE constexpr float cache_range(DType format) {
  return format == DType::s4 ? kRangeS4 : format == DType::e4m3 ? kRangeE4m3 : kRangeS8;
}
OCTAVO_INLINE constexpr std::int64_t cache_bits(DType format) {
  if (format == DType::s4) return 4;
  if (format == DType::s8 || format == DType::e4m3) return 8;
  return format == DType::f32 ? 32 : 16;
}

// Kernels multiply by e4m3's numbers over 256, which are f16's with the same bits.
OCTAVO_INLINE constexpr float cache_product_unit(DType format) { return format == DType::e4m3 ? 256.0f : 1.0f; }

// Keys are taken in blocks of 128 from key 0 on; the blocks of a split share one running state, splits are merged in
// ascending order (spec/merge.hpp). Both are rules: results do not depend on threads, batch or pages.
constexpr std::int64_t kCacheKeyBlock = 128;
constexpr std::int64_t kCacheSplit = 1024;

// Codes of the weights. s8: 15 bits, so that 128 products stay inside s32. s4: 8 bits, whose error is far below that of
// the values' codes, for products of bytes; so are those of Q.
OCTAVO_INLINE constexpr float cache_weight_range(DType format) { return format == DType::s4 ? 255.0f : 32767.0f; }
OCTAVO_INLINE constexpr float cache_query_range(DType format) { return format == DType::s4 ? kRangeS8 : kRangeQ16; }

// O is summed over this factor, so that up to 2^20 values near the largest that a cache takes stay finite.
constexpr float kCacheOutputUnit = 0x1p-20f;

constexpr std::int64_t kCacheMeanRows = 64;  // the first append must have as many tokens for K's mean to be taken

// Kept keys of a query row whose diagonal key is `centre`: token 0, and the tokens of the row's strip of 16 and of the
// one before it that it sees and that the ring holds.
OCTAVO_INLINE constexpr KeyRange cache_near_keys(std::int64_t centre, KeyRange seen, std::int64_t kept_begin) {
  std::int64_t begin = (strip_of(centre) - 1) * kNearStrip;
  if (begin < kept_begin) begin = kept_begin;
  if (begin < seen.begin) begin = seen.begin;
  const std::int64_t end = centre + 1 < seen.end ? centre + 1 : seen.end;
  return begin < end ? KeyRange{begin, end} : KeyRange{0, 0};
}

// The power of two that a kept row is divided by before it becomes f16: 1 where f16 holds the row as it is.
OCTAVO_INLINE constexpr float kept_row_unit(float amax) {
  if (amax == 0.0f || (amax >= 0x1p-4f && amax < 0x1p15f)) return 1.0f;
  std::int32_t exponent = static_cast<std::int32_t>(bits_of_f32(amax) >> 23) - 127;
  if (exponent < -100) exponent = -100;
  return f32_of_bits(static_cast<std::uint32_t>(exponent - 8 + 127) << 23);
}

}  // namespace octavo::spec
