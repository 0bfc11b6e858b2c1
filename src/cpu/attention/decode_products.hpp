// The two products of attention over a key-value cache for up to 4 query rows and a block of 128 keys, on strips in
// place (spec/cache_layout.hpp). s8: Q [rows, D] s16, K [N, D] s8 -> S s32; P [rows, N] s16, V [N, Dv] s8 -> O s32. s4:
// decode_products_s4.hpp.
// Floats: everything in f32.
#pragma once

#include "core/cache_problem.hpp"
#include "cpu/operands/load.hpp"
#include "spec/cache_layout.hpp"

namespace octavo::cpu {
namespace {

inline constexpr int kDecodeTile = 4;  // query rows that share the expansion of a vector of codes
inline constexpr std::int64_t kBlockStrips = spec::kCacheKeyBlock / kCacheStrip;

// Strips of one key block. Missing strips repeat the last one, so that whole vectors may be read.
struct CacheBlock {
  const std::byte* k[kBlockStrips];
  const std::byte* v[kBlockStrips];
  std::int64_t strips;  // existing ones
};

// Bytes of a cache line. The scores' loop asks for V of its block, the values' loop for K of the next one: each has
// about as many lines as the other one reads.
inline constexpr std::int64_t kLine = 64;

// acc[row][vector] += pairs of the codes times pair(row, 0 or 1); of the four codes of a word (0, 2), then (1, 3).
template <class S, int kRows, int kVectors, class Pair>
OCTAVO_INLINE void add_products(const typename S::s32* codes, const Pair& pair,
                                typename S::s32 (&acc)[kRows][kVectors]) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    typename S::s32 expanded[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) expanded[v] = half == 0 ? S::even_bytes(codes[v]) : S::odd_bytes(codes[v]);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const auto a = S::set1(pair(r, half));
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[r][v] = S::dot_pairs(acc[r][v], a, expanded[v]);
    }
  }
}

// Codes: dots[row][key] = sum_d q k as f32, for keys of vectors 2 c and 2 c + 1. q: per 4 channels the pairs (0, 2)
// and (1, 3).
template <class S, int kRows>
OCTAVO_INLINE void code_scores(const CacheBlock& block, std::int64_t first_key, const std::int32_t* q,
                               std::int64_t q_stride, const std::byte* ahead, float* dots, std::int64_t ld) {
  constexpr int kVectors = 2;
  const std::int32_t* from[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t key = first_key + v * S::kLanes;
    from[v] = reinterpret_cast<const std::int32_t*>(block.k[key / kCacheStrip]) + key % kCacheStrip;
  }
  typename S::s32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0);
  for (std::int64_t w = 0; w < q_stride / 2; ++w) {
    if (ahead != nullptr) __builtin_prefetch(ahead + w * kLine);
    typename S::s32 codes[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) codes[v] = S::load(from[v] + w * kCacheStrip);
    const std::int32_t* const pairs = q + 2 * w;
    add_products<S, kRows, kVectors>(
        codes, [&](int r, int pair) __attribute__((always_inline)) { return pairs[r * q_stride + pair]; }, acc);
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) S::store(dots + r * ld + first_key + v * S::kLanes, S::to_f32(acc[r][v]));
}

// Codes: out[row][channel] = out * alpha + gamma * sum_j p v for kVectors vectors of channels. p: per 4 keys the pairs
// (0, 2) and (1, 3), then two words that are not used.
template <class S, int kRows, int kVectors>
OCTAVO_INLINE void code_values(const CacheBlock& block, const std::int32_t* p, std::int64_t p_stride,
                               std::int64_t columns, std::int64_t channel, const float* alpha, const float* gamma,
                               const CacheBlock* next, float* out) {
  constexpr std::int64_t kTokens = 4;  // of a word
  constexpr std::int64_t kBytes = kVectors * S::kLanes * 4;
  const std::int64_t first = channel / (kVectors * S::kLanes) * kCacheStrip / kTokens;
  typename S::s32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0);
  for (std::int64_t s = 0; s < block.strips; ++s) {
    const auto* from = reinterpret_cast<const std::int32_t*>(block.v[s]) + channel;
    for (std::int64_t token = 0; token < kCacheStrip; token += kTokens, from += columns) {
      if (next != nullptr) __builtin_prefetch(next->k[s] + (first + token / kTokens) * kBytes);
      typename S::s32 codes[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) codes[v] = S::load(from + v * S::kLanes);
      const std::int32_t* const weights = p + s * kCacheStrip + token;
      add_products<S, kRows, kVectors>(
          codes, [&](int r, int pair) __attribute__((always_inline)) { return weights[r * p_stride + pair]; }, acc);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      float* const o = out + r * columns + channel + v * S::kLanes;
      S::store(o, S::fma(S::to_f32(acc[r][v]), S::set1(gamma[r]), S::mul(S::load(o), S::set1(alpha[r]))));
    }
  }
}

// A vector of a float format.
template <class S, DType kFormat>
OCTAVO_INLINE typename S::f32 load_format(const std::byte* p) {
  if constexpr (kFormat == DType::f32)
    return S::load(reinterpret_cast<const float*>(p));
  else if constexpr (kFormat == DType::f16)
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(p));
  else if constexpr (kFormat == DType::e4m3)
    return S::load_e4m3(reinterpret_cast<const std::uint8_t*>(p));
  else
    return S::load_bf16(reinterpret_cast<const std::uint16_t*>(p));
}

template <class S, DType kFormat, int kVectors>
OCTAVO_INLINE void load_formats(const std::byte* a, const std::byte* b, typename S::f32 (&x)[kVectors]) {
  if constexpr (kFormat == DType::e4m3 && kVectors == 2) {
    S::load_e4m3_pair(reinterpret_cast<const std::uint8_t*>(a), reinterpret_cast<const std::uint8_t*>(b), x[0], x[1]);
  } else {
    x[0] = load_format<S, kFormat>(a);
    if constexpr (kVectors == 2) x[1] = load_format<S, kFormat>(b);
  }
}

// Floats: dots[row][key] = sum_d q k, channels ascending.
template <class S, int kRows, DType kFormat>
OCTAVO_INLINE void float_scores(const CacheBlock& block, std::int64_t first_key, const float* q, std::int64_t q_stride,
                                std::int64_t dim, const std::byte* ahead, float* dots, std::int64_t ld) {
  constexpr int kVectors = 2;
  constexpr std::int64_t kSize = spec::cache_bits(kFormat) / 8;
  const std::byte* from[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t key = first_key + v * S::kLanes;
    from[v] = block.k[key / kCacheStrip] + key % kCacheStrip * kSize;
  }
  typename S::f32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0.0f);
  for (std::int64_t d = 0; d < dim; ++d) {
    if (ahead != nullptr && d * kSize % 4 == 0) __builtin_prefetch(ahead + d * kCacheStrip * kSize);
    typename S::f32 k[kVectors];
    load_formats<S, kFormat>(from[0] + d * kCacheStrip * kSize, from[1] + d * kCacheStrip * kSize, k);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const auto a = S::set1(q[r * q_stride + d]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[r][v] = S::fma(a, k[v], acc[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) S::store(dots + r * ld + first_key + v * S::kLanes, acc[r][v]);
}

// Floats: out[row][channel] = out * alpha + gamma * sum_j p v over keys lo..hi-1 of the block, without the `unused`
// ones (null: all are used).
template <class S, int kRows, int kVectors, DType kFormat>
OCTAVO_INLINE void float_values(const CacheBlock& block, std::int64_t lo, std::int64_t hi, const std::uint8_t* unused,
                                const float* p, std::int64_t p_stride, std::int64_t columns, std::int64_t channel,
                                const float* alpha, const float* gamma, const CacheBlock* next, float* out) {
  constexpr std::int64_t kSize = spec::cache_bits(kFormat) / 8;
  constexpr std::int64_t kBytes = kVectors * S::kLanes * kSize, kLoads = kBytes < kLine ? kLine / kBytes : 1;
  const std::int64_t first = channel / (kVectors * S::kLanes) * kCacheStrip;
  typename S::f32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0.0f);
  for (std::int64_t j = lo; j < hi; ++j) {
    if (unused != nullptr && unused[j] != 0) continue;
    const std::byte* from = block.v[j / kCacheStrip] + (j % kCacheStrip * columns + channel) * kSize;
    typename S::f32 values[kVectors];
    load_formats<S, kFormat>(from, from + S::kLanes * kSize, values);
    if (next != nullptr && j % kLoads == 0)
      __builtin_prefetch(next->k[j / kCacheStrip] + (first + j % kCacheStrip) * kVectors * S::kLanes * kSize);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const auto a = S::set1(p[r * p_stride + j]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[r][v] = S::fma(a, values[v], acc[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      float* const o = out + r * columns + channel + v * S::kLanes;
      S::store(o, S::fma(acc[r][v], S::set1(gamma[r]), S::mul(S::load(o), S::set1(alpha[r]))));
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
