// The two products of attention over a key-value cache for up to 4 query rows and a block of 128 keys, on strips in
// place (spec/cache_layout.hpp). Codes: Q [rows, D] s16, K [N, D] s8 -> S s32; P [rows, N] s16, V [N, Dv] s8 -> O s32.
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

// Codes: dots[row][key] = sum_d q k as f32, for keys of vectors 2 c and 2 c + 1. q: per 4 channels the pairs (0, 2)
// and (1, 3).
template <class S, int kRows>
OCTAVO_INLINE void code_scores(const CacheBlock& block, std::int64_t first_key, const std::int32_t* q,
                               std::int64_t q_stride, std::int64_t columns, FetchAhead fetch, float* dots,
                               std::int64_t ld) {
  constexpr int kVectors = 2;
  const std::int32_t* from[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t key = first_key + v * S::kLanes;
    from[v] = reinterpret_cast<const std::int32_t*>(block.k[key / kCacheStrip]) + key % kCacheStrip;
  }
  typename S::s32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0);
  for (std::int64_t w = 0; w < columns / 4; ++w) {
    if (fetch.k != nullptr) {
      __builtin_prefetch(fetch.k + w * 64);
      __builtin_prefetch(fetch.v + w * 64);
    }
    typename S::s32 even[kVectors], odd[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const auto codes = S::load(from[v] + w * kCacheStrip);
      even[v] = S::even_bytes(codes);
      odd[v] = S::odd_bytes(codes);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const auto a = S::set1(q[r * q_stride + 2 * w]), b = S::set1(q[r * q_stride + 2 * w + 1]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[r][v] = S::dot_pairs(S::dot_pairs(acc[r][v], a, even[v]), b, odd[v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) S::store(dots + r * ld + first_key + v * S::kLanes, S::to_f32(acc[r][v]));
}

// Codes: out[row][channel] = out * alpha + gamma * sum_j p v for kVectors vectors of channels. p: per 4 keys the pairs
// (0, 2) and (1, 3), then two words that are not used.
template <class S, int kRows, int kVectors>
OCTAVO_INLINE void code_values(const CacheBlock& block, const std::int32_t* p, std::int64_t p_stride,
                               std::int64_t columns, std::int64_t channel, const float* alpha, const float* gamma,
                               float* out) {
  typename S::s32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0);
  for (std::int64_t s = 0; s < block.strips; ++s) {
    const auto* from = reinterpret_cast<const std::int32_t*>(block.v[s]) + channel;
    for (int quad = 0; quad < 4; ++quad, from += columns) {
      typename S::s32 even[kVectors], odd[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const auto codes = S::load(from + v * S::kLanes);
        even[v] = S::even_bytes(codes);
        odd[v] = S::odd_bytes(codes);
      }
      const std::int32_t* const weights = p + s * kCacheStrip + quad * 4;
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const auto a = S::set1(weights[r * p_stride]), b = S::set1(weights[r * p_stride + 1]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) acc[r][v] = S::dot_pairs(S::dot_pairs(acc[r][v], a, even[v]), b, odd[v]);
      }
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
  else
    return S::load_bf16(reinterpret_cast<const std::uint16_t*>(p));
}

// Floats: dots[row][key] = sum_d q k, channels ascending.
template <class S, int kRows, DType kFormat>
OCTAVO_INLINE void float_scores(const CacheBlock& block, std::int64_t first_key, const float* q, std::int64_t q_stride,
                                std::int64_t dim, FetchAhead fetch, float* dots, std::int64_t ld) {
  constexpr int kVectors = 2;
  constexpr std::int64_t kSize = kFormat == DType::f32 ? 4 : 2;
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
  constexpr std::int64_t kSize = kFormat == DType::f32 ? 4 : 2;
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
