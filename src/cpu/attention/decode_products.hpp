// The two products of attention over a key-value cache for up to 4 query rows and a block of 128 keys, on strips in
// place (spec/cache_layout.hpp). Codes: Q [rows, D] s16, K [N, D] s8 or s4 -> S s32; P [rows, N] s16, V [N, Dv] s8 or
// s4 -> O s32.
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

// Asks for the lines that are needed next while the present strip is multiplied.
struct FetchAhead {
  const std::byte* k = nullptr;
  const std::byte* v = nullptr;
};

// Pairs of 16 bits that a word of codes holds: of the four codes of s8 (0, 2) and (1, 3), of the eight of s4 also (4,
// 6) and (5, 7).
template <DType kFormat>
inline constexpr int kPairs = kFormat == DType::s4 ? 4 : 2;

template <class S, DType kFormat, int kPair>
OCTAVO_INLINE typename S::s32 pair_of(typename S::s32 codes) {
  if constexpr (kFormat == DType::s4)
    return S::template nibbles<kPair>(codes);
  else if constexpr (kPair == 0)
    return S::even_bytes(codes);
  else
    return S::odd_bytes(codes);
}

// acc[row][vector] += pairs of the codes times pair(row, number of the pair).
template <class S, DType kFormat, int kPair, int kRows, int kVectors, class Pair>
OCTAVO_INLINE void add_products(const typename S::s32* codes, const Pair& pair,
                                typename S::s32 (&acc)[kRows][kVectors]) {
  typename S::s32 expanded[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) expanded[v] = pair_of<S, kFormat, kPair>(codes[v]);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const auto a = S::set1(pair(r, kPair));
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::dot_pairs(acc[r][v], a, expanded[v]);
  }
  if constexpr (kPair + 1 < kPairs<kFormat>) add_products<S, kFormat, kPair + 1, kRows, kVectors>(codes, pair, acc);
}

// Codes: dots[row][key] = sum_d q k as f32, for keys of vectors 2 c and 2 c + 1. q: per 4 channels the pairs (0, 2)
// and (1, 3).
template <class S, DType kFormat, int kRows>
OCTAVO_INLINE void code_scores(const CacheBlock& block, std::int64_t first_key, const std::int32_t* q,
                               std::int64_t q_stride, FetchAhead fetch, float* dots, std::int64_t ld) {
  constexpr int kVectors = 2;
  const std::int32_t* from[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t key = first_key + v * S::kLanes;
    from[v] = reinterpret_cast<const std::int32_t*>(block.k[key / kCacheStrip]) + key % kCacheStrip;
  }
  typename S::s32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0);
  for (std::int64_t w = 0; w < q_stride / kPairs<kFormat>; ++w) {
    if (fetch.k != nullptr) {
      __builtin_prefetch(fetch.k + w * 64);
      __builtin_prefetch(fetch.v + w * 64);
    }
    typename S::s32 codes[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) codes[v] = S::load(from[v] + w * kCacheStrip);
    const std::int32_t* const pairs = q + w * kPairs<kFormat>;
    add_products<S, kFormat, 0, kRows, kVectors>(
        codes, [&](int r, int pair) __attribute__((always_inline)) { return pairs[r * q_stride + pair]; }, acc);
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) S::store(dots + r * ld + first_key + v * S::kLanes, S::to_f32(acc[r][v]));
}

// Codes: out[row][channel] = out * alpha + gamma * sum_j p v for kVectors vectors of channels. p: per 4 keys the pairs
// (0, 2) and (1, 3), then two words that are not used.
template <class S, DType kFormat, int kRows, int kVectors>
OCTAVO_INLINE void code_values(const CacheBlock& block, const std::int32_t* p, std::int64_t p_stride,
                               std::int64_t columns, std::int64_t channel, const float* alpha, const float* gamma,
                               float* out) {
  constexpr std::int64_t kTokens = 2 * kPairs<kFormat>;  // of a word
  typename S::s32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0);
  for (std::int64_t s = 0; s < block.strips; ++s) {
    const auto* from = reinterpret_cast<const std::int32_t*>(block.v[s]) + channel;
    for (std::int64_t token = 0; token < kCacheStrip; token += kTokens, from += columns) {
      typename S::s32 codes[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) codes[v] = S::load(from + v * S::kLanes);
      const std::int32_t* const weights = p + s * kCacheStrip + token;
      add_products<S, kFormat, 0, kRows, kVectors>(
          codes,
          [&](int r, int pair)
              __attribute__((always_inline)) { return weights[r * p_stride + pair / 2 * 4 + pair % 2]; },
          acc);
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

// Floats: dots[row][key] = sum_d q k, channels ascending.
template <class S, int kRows, DType kFormat>
OCTAVO_INLINE void float_scores(const CacheBlock& block, std::int64_t first_key, const float* q, std::int64_t q_stride,
                                std::int64_t dim, FetchAhead fetch, float* dots, std::int64_t ld) {
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
    if (fetch.k != nullptr && d * kSize % 4 == 0) {
      __builtin_prefetch(fetch.k + d * kCacheStrip * kSize);
      __builtin_prefetch(fetch.v + d * kCacheStrip * kSize);
    }
    typename S::f32 k[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) k[v] = load_format<S, kFormat>(from[v] + d * kCacheStrip * kSize);
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

// Floats: out[row][channel] = out * alpha + gamma * sum_j p v over keys lo..hi-1 of the block.
template <class S, int kRows, int kVectors, DType kFormat>
OCTAVO_INLINE void float_values(const CacheBlock& block, std::int64_t lo, std::int64_t hi, const float* p,
                                std::int64_t p_stride, std::int64_t columns, std::int64_t channel, const float* alpha,
                                const float* gamma, float* out) {
  constexpr std::int64_t kSize = spec::cache_bits(kFormat) / 8;
  typename S::f32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0.0f);
  for (std::int64_t j = lo; j < hi; ++j) {
    const std::byte* from = block.v[j / kCacheStrip] + (j % kCacheStrip * columns + channel) * kSize;
    typename S::f32 values[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) values[v] = load_format<S, kFormat>(from + v * S::kLanes * kSize);
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
