// The two products of attention over a cache of s4 for up to 4 query rows and a block of 128 keys, on strips in place:
// Q [rows, D] s8, K [N, D] s4 -> S s32; P [rows, N] u8, V [N, Dv] s4 -> O s32. Products of bytes are summed in the
// narrow sums of S::dot_bytes, which are widened after 8.
#pragma once

#include "cpu/attention/decode_products.hpp"

namespace octavo::cpu {
namespace {

inline constexpr std::int64_t kWordCodes = 8;    // of s4
inline constexpr std::int64_t kNarrowWords = 4;  // two products each

// dots[row][key] = sum_d q k as f32 for keys of vectors 2 c and 2 c + 1. Codes of K meet Q as k + 8: `bias` [rows] is
// the sum of Q's codes.
template <class S, int kRows>
OCTAVO_INLINE void s4_scores(const CacheBlock& block, std::int64_t first_key, const std::int32_t* q,
                             std::int64_t q_stride, const std::int32_t* bias, const std::byte* ahead, float* dots,
                             std::int64_t ld) {
  constexpr int kVectors = 2;
  const std::int32_t* from[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t key = first_key + v * S::kLanes;
    from[v] = reinterpret_cast<const std::int32_t*>(block.k[key / kCacheStrip]) + key % kCacheStrip;
  }
  const auto flip = S::set1(static_cast<std::int32_t>(0x88888888u)), low = S::set1(0x0f0f0f0f);
  typename S::s32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(-8 * bias[r]);
  const std::int64_t words = q_stride / 2;
  for (std::int64_t first = 0; first < words; first += kNarrowWords) {
    const std::int64_t last = first + kNarrowWords < words ? first + kNarrowWords : words;
    typename S::s32 sums[kRows][kVectors];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) sums[r][v] = S::set1(0);
    for (std::int64_t w = first; w < last; ++w) {
      if (ahead != nullptr) __builtin_prefetch(ahead + w * kLine);
      typename S::s32 codes[kVectors], half[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        codes[v] = S::xor_s32(S::load(from[v] + w * kCacheStrip), flip);
        half[v] = S::and_s32(codes[v], low);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const auto a = S::set1(q[r * q_stride + 2 * w]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sums[r][v] = S::dot_bytes(sums[r][v], half[v], a);
      }
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) half[v] = S::and_s32(S::template shift_right<4>(codes[v]), low);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const auto a = S::set1(q[r * q_stride + 2 * w + 1]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sums[r][v] = S::dot_bytes(sums[r][v], half[v], a);
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) acc[r][v] = S::add_s32(acc[r][v], S::widen_sums(sums[r][v]));
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) S::store(dots + r * ld + first_key + v * S::kLanes, S::to_f32(acc[r][v]));
}

// out[row][channel] = out * alpha + gamma * sum_j p v for kVectors vectors of channels. p: per 8 keys the bytes of
// weight_words().
template <class S, int kRows, int kVectors>
OCTAVO_INLINE void s4_values(const CacheBlock& block, const std::int32_t* p, std::int64_t p_stride,
                             std::int64_t columns, std::int64_t channel, const float* alpha, const float* gamma,
                             const CacheBlock* next, float* out) {
  constexpr std::int64_t kStripWords = kCacheStrip / kWordCodes, kStrips = kNarrowWords / kStripWords;
  constexpr std::int64_t kBytes = kVectors * S::kLanes * 4;
  const std::int64_t ahead = channel / (kVectors * S::kLanes) * kStripWords;
  typename S::s32 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = S::set1(0);
  for (std::int64_t first = 0; first < block.strips; first += kStrips) {
    const std::int64_t last = first + kStrips < block.strips ? first + kStrips : block.strips;
    typename S::s32 sums[kRows][kVectors];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) sums[r][v] = S::set1(0);
    for (std::int64_t s = first; s < last; ++s) {
      const auto* from = reinterpret_cast<const std::int32_t*>(block.v[s]) + channel;
      for (std::int64_t w = 0; w < kStripWords; ++w, from += columns) {
        if (next != nullptr) __builtin_prefetch(next->k[s] + (ahead + w) * kBytes);
        const std::int32_t* const weights = p + s * kCacheStrip + w * kWordCodes;
        typename S::s32 codes[kVectors], half[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          codes[v] = S::load(from + v * S::kLanes);
          half[v] = S::even_nibbles(codes[v]);
        }
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const auto a = S::set1(weights[r * p_stride]);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) sums[r][v] = S::dot_bytes(sums[r][v], a, half[v]);
        }
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) half[v] = S::odd_nibbles(codes[v]);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const auto a = S::set1(weights[r * p_stride + 1]);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) sums[r][v] = S::dot_bytes(sums[r][v], a, half[v]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) acc[r][v] = S::add_s32(acc[r][v], S::widen_sums(sums[r][v]));
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      float* const o = out + r * columns + channel + v * S::kLanes;
      S::store(o, S::fma(S::to_f32(acc[r][v]), S::set1(gamma[r]), S::mul(S::load(o), S::set1(alpha[r]))));
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
