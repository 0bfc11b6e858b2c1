// 256-bit primitives (AVX2, FMA, F16C). VPMADDUBSW adds pairs with saturation at 16 bits, so the unsigned side is kept
// at 128 or below: |a| with a's sign moved to the other side; weights are taken less 128 first (kWeightBias).
#pragma once

#include <immintrin.h>

#include "cpu/simd/policy.hpp"

namespace octavo::cpu {
namespace {

struct Avx2 {
  static constexpr int kLanes = 8, kTileRows = 4, kTileColumns = 2, kFloatTileRows = 6;
  static constexpr int kKeyBias = 0, kWeightBias = 128;
  static constexpr bool kHasBf16 = false;
  static constexpr bool kHasTiles = false;
  static constexpr bool kFullRangeS8 = false;
  static constexpr bool kOverlapsWeights = false;
  using f32 = __m256;
  using s32 = __m256i;
  using mask = __m256;

  OCTAVO_INLINE f32 load(const float* p) { return _mm256_loadu_ps(p); }
  OCTAVO_INLINE s32 load(const std::int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  OCTAVO_INLINE void store(float* p, f32 x) { _mm256_storeu_ps(p, x); }
  OCTAVO_INLINE void store(std::int32_t* p, s32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  OCTAVO_INLINE f32 set1(float x) { return _mm256_set1_ps(x); }
  OCTAVO_INLINE s32 set1(std::int32_t x) { return _mm256_set1_epi32(x); }
  OCTAVO_INLINE f32 add(f32 a, f32 b) { return _mm256_add_ps(a, b); }
  OCTAVO_INLINE f32 sub(f32 a, f32 b) { return _mm256_sub_ps(a, b); }
  OCTAVO_INLINE f32 mul(f32 a, f32 b) { return _mm256_mul_ps(a, b); }
  OCTAVO_INLINE f32 div(f32 a, f32 b) { return _mm256_div_ps(a, b); }
  OCTAVO_INLINE f32 max(f32 a, f32 b) { return _mm256_max_ps(a, b); }
  OCTAVO_INLINE f32 min(f32 a, f32 b) { return _mm256_min_ps(a, b); }
  OCTAVO_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm256_fmadd_ps(a, b, c); }
  OCTAVO_INLINE s32 round_to_s32(f32 x) { return _mm256_cvtps_epi32(x); }
  OCTAVO_INLINE f32 to_f32(s32 x) { return _mm256_cvtepi32_ps(x); }
  OCTAVO_INLINE s32 bits(f32 x) { return _mm256_castps_si256(x); }
  OCTAVO_INLINE f32 from_bits(s32 x) { return _mm256_castsi256_ps(x); }
  OCTAVO_INLINE s32 add_s32(s32 a, s32 b) { return _mm256_add_epi32(a, b); }
  OCTAVO_INLINE s32 max_s32(s32 a, s32 b) { return _mm256_max_epi32(a, b); }
  OCTAVO_INLINE s32 and_s32(s32 a, s32 b) { return _mm256_and_si256(a, b); }
  OCTAVO_INLINE s32 or_s32(s32 a, s32 b) { return _mm256_or_si256(a, b); }
  OCTAVO_INLINE s32 xor_s32(s32 a, s32 b) { return _mm256_xor_si256(a, b); }
  template <int kBits>
  OCTAVO_INLINE s32 shift_left(s32 a) {
    return _mm256_slli_epi32(a, kBits);
  }
  template <int kBits>
  OCTAVO_INLINE s32 shift_right(s32 a) {
    return _mm256_srli_epi32(a, kBits);
  }
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits; the shift drops all others.
  using Exp2 = spec::Exp2Nearest;
  OCTAVO_INLINE f32 fraction(f32 x) { return sub(x, sub(add(x, set1(12582912.0f)), set1(12582912.0f))); }
  OCTAVO_INLINE f32 times_exp2(f32 p, f32 x) {
    return from_bits(add_s32(bits(p), shift_left<23>(bits(add(x, set1(12582912.0f))))));
  }
  OCTAVO_INLINE f32 times_exp2(mask keep, f32 p, f32 x) { return _mm256_and_ps(keep, times_exp2(p, x)); }
  OCTAVO_INLINE f32 abs(f32 x) { return _mm256_andnot_ps(set1(-0.0f), x); }
  OCTAVO_INLINE mask less(f32 a, f32 b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  OCTAVO_INLINE mask not_less(f32 a, f32 b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
  OCTAVO_INLINE mask equal(f32 a, f32 b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
  OCTAVO_INLINE mask is_finite(f32 x) { return less(abs(x), set1(__builtin_inff())); }
  OCTAVO_INLINE bool all(mask m) { return _mm256_movemask_ps(m) == 0xff; }
  OCTAVO_INLINE f32 select(mask m, f32 a, f32 b) { return _mm256_blendv_ps(b, a, m); }
  OCTAVO_INLINE f32 lane_index() { return _mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0); }

  OCTAVO_INLINE f32 load_f16(const std::uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  OCTAVO_INLINE f32 load_bf16(const std::uint16_t* p) {
    return from_bits(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
  }
  OCTAVO_INLINE void store_f16(std::uint16_t* p, f32 x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  OCTAVO_INLINE void store_bf16(std::uint16_t* p, f32 x) {
    const s32 u = bits(x);
    const s32 nonfinite = and_s32(shift_right<16>(u), set1(1));
    const s32 rounded = shift_right<16>(add_s32(u, add_s32(nonfinite, set1(0x7fff))));
    const s32 kept = bits(select(equal(x, x), from_bits(rounded), from_bits(set1(0x7fc0))));
    const s32 packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(kept, kept), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  }
  OCTAVO_INLINE f32 round_f16(f32 x) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // An f16 of the same sign, exponent and fraction is the number over 256.
  OCTAVO_INLINE f32 load_e4m3(const std::uint8_t* p) {
    const __m128i wide = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    const __m128i half = _mm_and_si128(_mm_slli_epi16(wide, 7), _mm_set1_epi16(static_cast<short>(0xbf80)));
    return _mm256_cvtph_ps(half);
  }
  OCTAVO_INLINE void load_e4m3_pair(const std::uint8_t* a, const std::uint8_t*, f32& x, f32& y) {
    const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a));
    const __m256i wide = _mm256_slli_epi16(_mm256_cvtepi8_epi16(both), 7);
    const __m256i halves = _mm256_and_si256(wide, _mm256_set1_epi16(static_cast<short>(0xbf80)));
    x = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
    y = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
  }
  OCTAVO_INLINE s32 load_s8(const std::int8_t* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  // The packs interleave 128-bit lanes; one permutation of words puts them in order.
  OCTAVO_INLINE void store_u8x4(std::uint8_t* p, s32 a, s32 b, s32 c, s32 d) {
    const s32 packed = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    store(reinterpret_cast<std::int32_t*>(p),
          _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  }
  OCTAVO_INLINE void store_s8x4(std::int8_t* p, s32 a, s32 b, s32 c, s32 d) {
    const s32 packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    store(reinterpret_cast<std::int32_t*>(p),
          _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  }

  template <int kDistance>
  OCTAVO_INLINE f32 swap(f32 x) {
    if constexpr (kDistance == 1) return _mm256_permute_ps(x, 0xb1);
    if constexpr (kDistance == 2) return _mm256_permute_ps(x, 0x4e);
    if constexpr (kDistance == 4) return _mm256_permute2f128_ps(x, x, 0x01);
  }
  template <int kDistance>
  OCTAVO_INLINE f32 butterfly(f32 x) {
    constexpr int kUpper = kDistance == 1 ? 0xaa : kDistance == 2 ? 0xcc : 0xf0;
    const f32 swapped = swap<kDistance>(x);
    return _mm256_blend_ps(add(swapped, x), sub(swapped, x), kUpper);
  }

  OCTAVO_INLINE void transpose(const std::int32_t* from, std::ptrdiff_t from_ld, std::int32_t* to,
                               std::ptrdiff_t to_ld) {
    s32 r[8], t[8];
    for (int i = 0; i < 8; ++i) r[i] = load(from + i * from_ld);
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
      r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
      r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
      r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
      store(to + i * to_ld, _mm256_permute2x128_si256(r[i], r[i + 4], 0x20));
      store(to + (i + 4) * to_ld, _mm256_permute2x128_si256(r[i], r[i + 4], 0x31));
    }
  }

  // Halving the number of vectors at each step, as on 512 bits.
  template <class Op>
  OCTAVO_INLINE f32 row_reduce(const float* rows, Op op) {
    f32 a[4], b[2];
    for (int i = 0; i < 4; ++i) {  // rows i | i + 4 by 128-bit lanes
      const f32 x = load(rows + i * 8), y = load(rows + (i + 4) * 8);
      a[i] = op(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
    }
    for (int i = 0; i < 2; ++i)
      b[i] = op(_mm256_shuffle_ps(a[i], a[i + 2], 0x44), _mm256_shuffle_ps(a[i], a[i + 2], 0xee));
    const f32 c = op(_mm256_shuffle_ps(b[0], b[1], 0x88), _mm256_shuffle_ps(b[0], b[1], 0xdd));
    return _mm256_permute_ps(c, 0xd8);  // lanes hold rows 0, 2, 1, 3
  }
  OCTAVO_INLINE f32 row_max(const float* rows) {
    return row_reduce(rows, [](f32 x, f32 y) __attribute__((always_inline)) { return max(x, y); });
  }
  OCTAVO_INLINE f32 row_sum(const float* rows) {
    return row_reduce(rows, [](f32 x, f32 y) __attribute__((always_inline)) { return add(x, y); });
  }
  OCTAVO_INLINE float reduce_max(f32 x) {
    x = max(x, swap<4>(x));
    x = max(x, swap<2>(x));
    return _mm256_cvtss_f32(max(x, swap<1>(x)));
  }
  OCTAVO_INLINE float reduce_add(f32 x) {
    x = add(x, swap<4>(x));
    x = add(x, swap<2>(x));
    return _mm256_cvtss_f32(add(x, swap<1>(x)));
  }

  OCTAVO_INLINE s32 even_bytes(s32 x) { return _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8); }
  OCTAVO_INLINE s32 odd_bytes(s32 x) { return _mm256_srai_epi16(x, 8); }
  OCTAVO_INLINE s32 even_nibbles(s32 x) { return _mm256_shuffle_epi8(nibble_values(), and_s32(x, set1(0x0f0f0f0f))); }
  OCTAVO_INLINE s32 odd_nibbles(s32 x) { return even_nibbles(_mm256_srli_epi16(x, 4)); }
  OCTAVO_INLINE s32 nibble_values() {
    return _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6,
                            -5, -4, -3, -2, -1);
  }
  // As asm for the reason of dot_pairs.
  OCTAVO_INLINE s32 dot_bytes(s32 acc, s32 u8, s32 s8) {
    s32 products;
    asm("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0" : "+x"(acc), "=&x"(products) : "x"(u8), "x"(s8));
    return acc;
  }
  OCTAVO_INLINE s32 widen_sums(s32 acc) { return _mm256_madd_epi16(acc, _mm256_set1_epi16(1)); }
  // As asm: g++ 12 sums the products of a loop before it adds them to the accumulators, and spills those.
  OCTAVO_INLINE s32 dot_pairs(s32 acc, s32 a, s32 b) {
    s32 products;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(acc), "=&x"(products) : "x"(a), "x"(b));
    return acc;
  }

  OCTAVO_INLINE s32 dot_signed(s32 acc, s32 a, s32 b) {
    const s32 pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  // Through 16 bits: bytes at even places, bytes at nonfinite ones.
  OCTAVO_INLINE s32 dot_full_range(s32 acc, s32 a, s32 b) {
    const s32 even =
        _mm256_madd_epi16(_mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8), _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
    const s32 nonfinite = _mm256_madd_epi16(_mm256_srai_epi16(a, 8), _mm256_srai_epi16(b, 8));
    return _mm256_add_epi32(acc, _mm256_add_epi32(even, nonfinite));
  }
  OCTAVO_INLINE s32 dot_key(s32 acc, s32 a, s32 b) { return dot_signed(acc, a, b); }
  // The weight less 128 as a signed byte is the weight with its top bit flipped.
  OCTAVO_INLINE s32 dot_value(s32 acc, s32 a, s32 b) { return dot_signed(acc, xor_s32(a, _mm256_set1_epi8(-128)), b); }
  OCTAVO_INLINE s32 dot_full_range_key(s32 acc, s32 a, s32 b) { return dot_full_range(acc, a, b); }
  OCTAVO_INLINE s32 dot_full_range_value(s32 acc, s32 a, s32 b) {
    return dot_full_range(acc, xor_s32(a, _mm256_set1_epi8(-128)), b);
  }
};

}  // namespace
}  // namespace octavo::cpu
