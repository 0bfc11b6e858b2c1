// The 256-bit primitives with AVX-VNNI's VPDPBUSD for the integer products.
#pragma once

#include "cpu/simd/avx2.hpp"

namespace octavo::cpu {
namespace {

struct Avx2Vnni : Avx2 {
  static constexpr int kKeyBias = 128, kWeightBias = 0;
  static constexpr bool kFullRangeS8 = true;

  // As asm for the reason given in avx512_vnni.hpp; without {vex} the assembler would take AVX-512's encoding.
  OCTAVO_INLINE s32 dpbusd(s32 acc, s32 u8, s32 s8) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(u8), "x"(s8));
    return acc;
  }
  OCTAVO_INLINE s32 dot_key(s32 acc, s32 a, s32 b) { return dpbusd(acc, b, a); }
  OCTAVO_INLINE s32 dot_value(s32 acc, s32 a, s32 b) { return dpbusd(acc, a, b); }
  OCTAVO_INLINE s32 dot_bytes(s32 acc, s32 u8, s32 s8) { return dpbusd(acc, u8, s8); }
  OCTAVO_INLINE s32 widen_sums(s32 acc) { return acc; }
  OCTAVO_INLINE s32 dot_pairs(s32 acc, s32 a, s32 b) {
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
    return acc;
  }
};

}  // namespace
}  // namespace octavo::cpu
