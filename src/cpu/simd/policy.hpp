// The primitives that a SIMD policy provides to the CPU kernels. Kernels are templates over a policy and contain no
// intrinsics; a policy contains no algorithm. The primitives, for a policy S with L = S::kLanes (a power of two):
//
//   f32, s32                      vectors of L floats, of L 32-bit integers
//   load store set1 zero          memory need not be aligned; set1 repeats one value
//   add sub mul div max min fma   fma(a, b, c) = a * b + c, rounded once. max(a, b): b where either is NaN
//   round_to_s32, to_f32          to nearest even, for |x| <= 2^22; exact for |x| < 2^24
//   fraction(x), times_exp2(p, x)   x less an integer n, which Exp2 (spec/exp2_poly.hpp) names, and p 2^n; for
//                                 |x| < 256 and normal results
//   times_exp2(mask, p, x)        where the mask holds, else 0
//   bits, from_bits               the same 32 bits seen as the other type
//   s32: add_s32 max_s32 and_s32 or_s32 xor_s32 shift_left<n> shift_right<n> (logical)
//   select(mask, a, b)            a where the mask holds; masks come from less, not_less, equal and is_finite;
//                                 not_less holds where either is NaN
//   load_f16 load_bf16 store_f16 store_bf16      L 16-bit floats <-> f32, nearest even
//   store_u8x4, store_s8x4        four s32 vectors with values in range -> 4 L bytes in order
//   load_s8                       L bytes -> s32
//   load_e4m3                     L bytes -> f32 over 256; the code of NaN, which no cache reads, becomes +-480 / 256
//   load_e4m3_pair(a, b, x, y)    x and y from the bytes at a and at b; where 2 L <= 16, b is a + L
//   swap<h>(x)                    lanes exchanged at distance h; butterfly<h>(x) = (a + b, a - b) at that distance
//   transpose(from, ld, to, ld)   L x L words
//   row_max, row_sum              L vectors in memory -> one vector: lane i reduces vector i
//   dot_key(acc, a, b)            acc += sum of 4 products per lane: a = one word of s8 (repeated), b = key codes
//   dot_value(acc, a, b)          likewise: a = one word of u8 weights, b = s8 values
//   dot_full_range_key, dot_full_range_value   likewise where codes may be -128, unless kFullRangeS8
//   even_bytes(x), odd_bytes(x)   s8 -> s16: bytes 0, 2, 4, ... and bytes 1, 3, 5, ... of 4 L, as pairs in s32
//   even_nibbles(x), odd_nibbles(x)   s4 -> s8: the low and the high nibbles of 4 L bytes
//   dot_bytes(acc, a, b)          acc += sums of products of u8 in a and s8 in b, each below 2048; at most 8 calls
//   widen_sums(acc)               then: the sums of 4 L products as L s32
//   dot_pairs(acc, a, b)          acc += sum of 2 products of s16 per lane
//   dot_bf16(acc, a, b)           acc += sum of 2 products per lane, where kHasBf16
//   store_bf16x2(p, a, b)         2 L bf16 in order, nearest even, subnormals as they come or 0; where kHasBf16
//
// and where kHasTiles, over registers t of 16 x 16 words of 32 bits, numbered 0 to 7:
//   open_tiles, close_tiles       around all the others, on the thread that uses them
//   tile_zero<t>
//   tile_load<t>(p, stride), tile_store<t>(p, stride)   rows lie `stride` bytes apart
//   dot_tile_keys<c, a, b>        c += a b in s32: word k of a row of a is four s8 that meet those of row k of b
//   dot_tile_values<c, a, b>      likewise with u8 in a
//
// kKeyBias: key codes are stored with this added (128: unsigned operand of VPDPBUSD, 0: signed); accumulators of scores
// then start at -kKeyBias * sum(q). kWeightBias: dot_value computes (weight - kWeightBias) * value, so its accumulators
// start at kWeightBias * (column sum of the values). kTileRows x kTileColumns vectors is the register tile.
// kFloatTileRows: its rows where it adds products of f32 and as many are left.
// kFullRangeS8: dot_key and dot_value are exact for keys and values of -128 too, which only callers make.
// kHasTiles: integer products of whole row groups go through tiles (attention/tile_products.hpp); dot_key and dot_value
// are not used then.
// kOverlapsWeights: registers suffice to take exponentials between the steps of a score tile, where the processor gains
// by it (cpu/features.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "spec/exp2_poly.hpp"
