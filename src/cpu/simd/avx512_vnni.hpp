// The 512-bit primitives with VPDPBUSD for the integer products and, in the second policy, VDPBF16PS.
#pragma once

#include "cpu/simd/avx512.hpp"

namespace octavo::cpu {
namespace {

struct Avx512Vnni : Avx512 {
  static constexpr int kKeyBias = 128, kWeightBias = 0;
  static constexpr bool kFullRangeS8 = true;
  static constexpr bool kOverlapsWeights = true;

  // As asm: g++ 12 copies accumulators around the intrinsic in tile loops, which halves their speed.
  OCTAVO_INLINE s32 dpbusd(s32 acc, s32 u8, s32 s8) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8));
    return acc;
  }
  OCTAVO_INLINE s32 dot_key(s32 acc, s32 a, s32 b) { return dpbusd(acc, b, a); }
  OCTAVO_INLINE s32 dot_value(s32 acc, s32 a, s32 b) { return dpbusd(acc, a, b); }
  OCTAVO_INLINE s32 dot_bytes(s32 acc, s32 u8, s32 s8) { return dpbusd(acc, u8, s8); }
  OCTAVO_INLINE s32 widen_sums(s32 acc) { return acc; }
  OCTAVO_INLINE s32 dot_pairs(s32 acc, s32 a, s32 b) {
    asm("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
  }
};

struct Avx512VnniBf16 : Avx512Vnni {
  static constexpr bool kHasBf16 = true;
  OCTAVO_INLINE f32 dot_bf16(f32 acc, s32 a, s32 b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
  }
  OCTAVO_INLINE void store_bf16x2(std::uint16_t* p, f32 a, f32 b) {
    _mm512_storeu_si512(p, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a)));
  }
};

}  // namespace
}  // namespace octavo::cpu
