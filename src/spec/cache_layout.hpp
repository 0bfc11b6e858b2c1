// The order of elements inside a strip of 16 tokens of a key-value cache, and the rules of attention over one that the
// reference and the kernels share.
//   K, floats   [channels][16]                 a vector of keys for each channel
//   K, s8       [channels / 4][16][4]          a word holds 4 channels of a key
//   V, floats   [16][channels]
//   V, s8       [4][channels][4]               a word holds one channel of 4 consecutive tokens
// Channels are padded with zeros: K's to a multiple of 8, V's to one of 16. Scales: f32 [16], one per token.
#pragma once

#include <cstdint>

#include "core/cache_problem.hpp"
#include "core/float_types.hpp"
#include "core/inline.hpp"
#include "spec/kept_keys.hpp"
#include "spec/visibility.hpp"

namespace octavo::spec {

OCTAVO_INLINE constexpr std::int64_t cache_k_columns(std::int64_t dim) { return (dim + 7) / 8 * 8; }
OCTAVO_INLINE constexpr std::int64_t cache_v_columns(std::int64_t dim) { return (dim + 15) / 16 * 16; }
OCTAVO_INLINE constexpr std::int64_t cache_mean_columns(std::int64_t dim) { return (dim + 63) / 64 * 64; }

// Element index inside the strip.
OCTAVO_INLINE constexpr std::int64_t cache_k_index(bool quantized, std::int64_t token, std::int64_t channel) {
  return quantized ? (channel / 4 * kCacheStrip + token) * 4 + channel % 4 : channel * kCacheStrip + token;
}
OCTAVO_INLINE constexpr std::int64_t cache_v_index(bool quantized, std::int64_t columns, std::int64_t token,
                                                   std::int64_t channel) {
  return quantized ? (token / 4 * columns + channel) * 4 + token % 4 : token * columns + channel;
}

// Keys are taken in blocks of 128 from key 0 on; the blocks of a split share one running state, splits are merged in
// ascending order (spec/merge.hpp). Both are laws: results do not depend on threads, batch or pages.
constexpr std::int64_t kCacheKeyBlock = 128;
constexpr std::int64_t kCacheSplit = 1024;

// Codes of the weights: 0..32767, so that 128 products with s8 values stay inside s32.
constexpr float kCacheWeightRange = 32767.0f;

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
