// 512-bit primitives (AVX-512 F, BW, DQ, VL). Integer products go through VPMADDUBSW as on 256 bits (avx2.hpp): |a|
// with a's sign moved to the other side, weights taken less 128 first.
#pragma once

#include <immintrin.h>

#include "cpu/simd/policy.hpp"

namespace octavo::cpu {
namespace {

struct Avx512 {
  static constexpr int kLanes = 16, kTileRows = 4, kTileColumns = 4, kFloatTileRows = 4;
  static constexpr int kKeyBias = 0, kWeightBias = 128;
  static constexpr bool kHasBf16 = false;
  static constexpr bool kHasTiles = false;
  static constexpr bool kFullRangeS8 = false;
  static constexpr bool kOverlapsWeights = false;
  using f32 = __m512;
  using s32 = __m512i;
  using mask = __mmask16;

  OCTAVO_INLINE f32 load(const float* p) { return _mm512_loadu_ps(p); }
  OCTAVO_INLINE s32 load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  OCTAVO_INLINE void store(float* p, f32 x) { _mm512_storeu_ps(p, x); }
  OCTAVO_INLINE void store(std::int32_t* p, s32 x) { _mm512_storeu_si512(p, x); }
  OCTAVO_INLINE f32 set1(float x) { return _mm512_set1_ps(x); }
  OCTAVO_INLINE s32 set1(std::int32_t x) { return _mm512_set1_epi32(x); }
  OCTAVO_INLINE f32 add(f32 a, f32 b) { return _mm512_add_ps(a, b); }
  OCTAVO_INLINE f32 sub(f32 a, f32 b) { return _mm512_sub_ps(a, b); }
  OCTAVO_INLINE f32 mul(f32 a, f32 b) { return _mm512_mul_ps(a, b); }
  OCTAVO_INLINE f32 div(f32 a, f32 b) { return _mm512_div_ps(a, b); }
  OCTAVO_INLINE f32 max(f32 a, f32 b) { return _mm512_max_ps(a, b); }
  OCTAVO_INLINE f32 min(f32 a, f32 b) { return _mm512_min_ps(a, b); }
  OCTAVO_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm512_fmadd_ps(a, b, c); }
  OCTAVO_INLINE s32 round_to_s32(f32 x) { return _mm512_cvtps_epi32(x); }
  OCTAVO_INLINE f32 to_f32(s32 x) { return _mm512_cvtepi32_ps(x); }
  // Both run beside the products, where additions do not. VSCALEFPS takes the floor of x.
  using Exp2 = spec::Exp2Floor;
  OCTAVO_INLINE f32 fraction(f32 x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF); }
  OCTAVO_INLINE f32 times_exp2(f32 p, f32 x) { return _mm512_scalef_ps(p, x); }
  OCTAVO_INLINE f32 times_exp2(mask keep, f32 p, f32 x) { return _mm512_maskz_scalef_ps(keep, p, x); }
  OCTAVO_INLINE s32 bits(f32 x) { return _mm512_castps_si512(x); }
  OCTAVO_INLINE f32 from_bits(s32 x) { return _mm512_castsi512_ps(x); }
  OCTAVO_INLINE s32 add_s32(s32 a, s32 b) { return _mm512_add_epi32(a, b); }
  OCTAVO_INLINE s32 max_s32(s32 a, s32 b) { return _mm512_max_epi32(a, b); }
  OCTAVO_INLINE s32 and_s32(s32 a, s32 b) { return _mm512_and_si512(a, b); }
  OCTAVO_INLINE s32 or_s32(s32 a, s32 b) { return _mm512_or_si512(a, b); }
  OCTAVO_INLINE s32 xor_s32(s32 a, s32 b) { return _mm512_xor_si512(a, b); }
  template <int kBits>
  OCTAVO_INLINE s32 shift_left(s32 a) {
    return _mm512_slli_epi32(a, kBits);
  }
  template <int kBits>
  OCTAVO_INLINE s32 shift_right(s32 a) {
    return _mm512_srli_epi32(a, kBits);
  }
  OCTAVO_INLINE f32 abs(f32 x) { return _mm512_abs_ps(x); }
  OCTAVO_INLINE mask less(f32 a, f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  OCTAVO_INLINE mask not_less(f32 a, f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  OCTAVO_INLINE mask equal(f32 a, f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  OCTAVO_INLINE mask is_finite(f32 x) { return less(abs(x), set1(__builtin_inff())); }
  OCTAVO_INLINE bool all(mask m) { return m == 0xffff; }
  OCTAVO_INLINE f32 select(mask m, f32 a, f32 b) { return _mm512_mask_blend_ps(m, b, a); }
  // 0, 1, 2, ...
  OCTAVO_INLINE f32 lane_index() { return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); }

  OCTAVO_INLINE f32 load_f16(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  OCTAVO_INLINE f32 load_bf16(const std::uint16_t* p) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
  }
  OCTAVO_INLINE void store_f16(std::uint16_t* p, f32 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  // Nearest even in integer arithmetic, which unlike the conversion instruction keeps subnormals; NaN stays NaN.
  OCTAVO_INLINE void store_bf16(std::uint16_t* p, f32 x) {
    const s32 u = bits(x);
    const s32 nonfinite = and_s32(shift_right<16>(u), set1(1));
    s32 rounded = shift_right<16>(add_s32(u, add_s32(nonfinite, set1(0x7fff))));
    rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), set1(0x7fc0));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(rounded));
  }
  OCTAVO_INLINE f32 round_f16(f32 x) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // An f16 of the same sign, exponent and fraction is the number over 256.
  OCTAVO_INLINE f32 load_e4m3(const std::uint8_t* p) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i half = _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(static_cast<short>(0xbf80)));
    return _mm512_cvtph_ps(half);
  }
  OCTAVO_INLINE void load_e4m3_pair(const std::uint8_t* a, const std::uint8_t* b, f32& x, f32& y) {
    x = load_e4m3(a), y = load_e4m3(b);
  }
  OCTAVO_INLINE s32 load_s8(const std::int8_t* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  // The packs interleave 128-bit lanes; one permutation of words puts them in order.
  OCTAVO_INLINE void store_u8x4(std::uint8_t* p, s32 a, s32 b, s32 c, s32 d) {
    const s32 order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const s32 packed = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, packed));
  }
  OCTAVO_INLINE void store_s8x4(std::int8_t* p, s32 a, s32 b, s32 c, s32 d) {
    const s32 order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const s32 packed = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, packed));
  }

  template <int kDistance>
  OCTAVO_INLINE f32 swap(f32 x) {
    if constexpr (kDistance == 1) return _mm512_permute_ps(x, 0xb1);
    if constexpr (kDistance == 2) return _mm512_permute_ps(x, 0x4e);
    if constexpr (kDistance == 4) return _mm512_shuffle_f32x4(x, x, 0xb1);
    if constexpr (kDistance == 8) return _mm512_shuffle_f32x4(x, x, 0x4e);
  }
  // a + b in the lower lane of each pair, a - b in the upper: the multiplication by +-1 is exact, so each is one
  // rounding.
  template <int kDistance>
  OCTAVO_INLINE f32 butterfly(f32 x) {
    constexpr mask upper = kDistance == 1 ? 0xaaaa : kDistance == 2 ? 0xcccc : kDistance == 4 ? 0xf0f0 : 0xff00;
    const f32 sign = _mm512_mask_blend_ps(upper, set1(1.0f), set1(-1.0f));
    return fma(x, sign, swap<kDistance>(x));
  }

  OCTAVO_INLINE void transpose(const std::int32_t* from, std::ptrdiff_t from_ld, std::int32_t* to,
                               std::ptrdiff_t to_ld) {
    s32 r[16], t[16];
    for (int i = 0; i < 16; ++i) r[i] = load(from + i * from_ld);
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
      r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
      r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
      r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
      t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
      t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; ++i) {
      r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
      r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
    for (int i = 0; i < 16; ++i) store(to + i * to_ld, r[i]);
  }

  // Halving the number of vectors at each step: 15 pairs of blends instead of a horizontal reduction a row.
  template <class Op>
  OCTAVO_INLINE f32 row_reduce(const float* rows, Op op) {
    f32 a[8], b[4], c[2];
    for (int i = 0; i < 8; ++i) {  // a[i]: rows i and i + 8
      const f32 x = load(rows + i * 16), y = load(rows + (i + 8) * 16);
      a[i] = op(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
    }
    for (int i = 0; i < 4; ++i)  // b[i]: rows i, i + 4 | i + 8, i + 12 by 128-bit lanes
      b[i] = op(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd));
    for (int i = 0; i < 2; ++i)
      c[i] = op(_mm512_shuffle_ps(b[i], b[i + 2], 0x44), _mm512_shuffle_ps(b[i], b[i + 2], 0xee));
    const f32 d = op(_mm512_shuffle_ps(c[0], c[1], 0x88), _mm512_shuffle_ps(c[0], c[1], 0xdd));
    // Lanes of d: 128-bit lane j holds rows {0, 2, 1, 3} + {0, 8, 4, 12}[j].
    const s32 order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
    return _mm512_permutexvar_ps(order, d);
  }
  OCTAVO_INLINE f32 row_max(const float* rows) {
    return row_reduce(rows, [](f32 x, f32 y) __attribute__((always_inline)) { return max(x, y); });
  }
  OCTAVO_INLINE f32 row_sum(const float* rows) {
    return row_reduce(rows, [](f32 x, f32 y) __attribute__((always_inline)) { return add(x, y); });
  }
  OCTAVO_INLINE float reduce_max(f32 x) { return _mm512_reduce_max_ps(x); }
  OCTAVO_INLINE float reduce_add(f32 x) { return _mm512_reduce_add_ps(x); }

  OCTAVO_INLINE s32 even_bytes(s32 x) { return _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8); }
  OCTAVO_INLINE s32 odd_bytes(s32 x) { return _mm512_srai_epi16(x, 8); }
  OCTAVO_INLINE s32 even_nibbles(s32 x) { return _mm512_shuffle_epi8(nibble_values(), and_s32(x, set1(0x0f0f0f0f))); }
  OCTAVO_INLINE s32 odd_nibbles(s32 x) { return even_nibbles(_mm512_srli_epi16(x, 4)); }
  OCTAVO_INLINE s32 nibble_values() {
    return _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
  }
  OCTAVO_INLINE s32 dot_bytes(s32 acc, s32 u8, s32 s8) { return _mm512_add_epi16(acc, _mm512_maddubs_epi16(u8, s8)); }
  OCTAVO_INLINE s32 widen_sums(s32 acc) { return _mm512_madd_epi16(acc, _mm512_set1_epi16(1)); }
  OCTAVO_INLINE s32 dot_pairs(s32 acc, s32 a, s32 b) { return add_s32(acc, _mm512_madd_epi16(a, b)); }

  OCTAVO_INLINE s32 dot_signed(s32 acc, s32 a, s32 b) {
    const s32 turned = _mm512_mask_sub_epi8(b, _mm512_movepi8_mask(a), _mm512_setzero_si512(), b);
    const s32 pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(a), turned);
    return add_s32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  // Through 16 bits: bytes at even places, bytes at nonfinite ones.
  OCTAVO_INLINE s32 dot_full_range(s32 acc, s32 a, s32 b) {
    const s32 even =
        _mm512_madd_epi16(_mm512_srai_epi16(_mm512_slli_epi16(a, 8), 8), _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8));
    const s32 nonfinite = _mm512_madd_epi16(_mm512_srai_epi16(a, 8), _mm512_srai_epi16(b, 8));
    return add_s32(acc, add_s32(even, nonfinite));
  }
  // The weight less 128 as a signed byte is the weight with its top bit flipped.
  OCTAVO_INLINE s32 less_128(s32 weights) { return xor_s32(weights, _mm512_set1_epi8(-128)); }
  OCTAVO_INLINE s32 dot_key(s32 acc, s32 a, s32 b) { return dot_signed(acc, a, b); }
  OCTAVO_INLINE s32 dot_value(s32 acc, s32 a, s32 b) { return dot_signed(acc, less_128(a), b); }
  OCTAVO_INLINE s32 dot_full_range_key(s32 acc, s32 a, s32 b) { return dot_full_range(acc, a, b); }
  OCTAVO_INLINE s32 dot_full_range_value(s32 acc, s32 a, s32 b) { return dot_full_range(acc, less_128(a), b); }
};

}  // namespace
}  // namespace octavo::cpu
