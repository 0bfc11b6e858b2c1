// Every primitive of a SIMD policy as a function over memory, so that one test can speak to all policies though each is
// compiled with flags of its own. Pointers are to kLanes elements (or as the member says); `out` never overlaps inputs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::cpu {

struct SimdPrimitives {
  const char* name;
  int lanes, tile_rows, tile_columns;
  int key_bias, weight_bias;
  bool has_bf16;
  bool fma_rounds_once;  // the portable policy rounds in double first

  using Unary = void (*)(const void* a, void* out);
  using Binary = void (*)(const void* a, const void* b, void* out);
  using Ternary = void (*)(const void* a, const void* b, const void* c, void* out);

  // f32 -> f32
  Unary fraction;
  Binary times_exp2;
  Ternary times_exp2_where;         // p, x, least: p times its power of two unless x < least
  bool exp2_floors;                 // fraction and times_exp2 take the floor of x, not the nearest integer
  Unary exp2_from;                  // of the quintic, from -126 on
  Unary copy_f32, repeat_f32, abs;  // repeat: the first element in all lanes
  Binary add, sub, mul, div, max, min;
  Ternary fma;
  void (*lane_index)(void* out);
  // s32 -> s32
  Unary copy_s32, repeat_s32;
  Binary add_s32, max_s32, and_s32, or_s32, xor_s32;
  Unary shift_left_1, shift_left_8, shift_left_16, shift_left_23, shift_left_24;
  Unary shift_right_1, shift_right_16, shift_right_23, shift_right_31;
  // between them
  Unary round_to_s32, to_f32, bits, from_bits;
  // masks: a where a < b (a == b, a is finite), else c
  Ternary select_less, select_equal, select_finite;
  bool (*all_equal)(const void* a, const void* b);
  // 16-bit floats and bytes
  Unary load_f16, load_bf16, store_f16, store_bf16, round_f16, load_s8, load_e4m3;
  Unary store_u8x4, store_s8x4;  // a: 4 L s32
  // across lanes; the distances 1, 2, 4, 8 below the number of lanes, else null
  Unary swap[4], butterfly[4];
  void (*transpose)(const std::int32_t* from, std::ptrdiff_t from_ld, std::int32_t* to, std::ptrdiff_t to_ld);
  Unary row_max, row_sum;  // a: L * L f32
  float (*reduce_max)(const void* a);
  float (*reduce_add)(const void* a);
  // acc, a, b; every: codes of -128 too; the integer ones are null where tiles take their place
  Ternary dot_key, dot_value, dot_full_range_key, dot_full_range_value, dot_bf16;
  Unary even_bytes, odd_bytes, even_nibbles, odd_nibbles, widen_sums;
  Ternary dot_pairs;     // of s16
  Ternary dot_bytes;     // u8 by s8, in sums that widen_sums widens
  Unary load_e4m3_pair;  // 2 L codes side by side
  Unary store_bf16x2;    // a: 2 L f32; null without bf16 products
  // Tiles of 16 rows by 64 bytes, by number; null without them. Strides are bytes; what names none is dense.
  static constexpr int kTiles = 8;
  void (*tile_copy[kTiles])(const void* from, std::ptrdiff_t from_stride, void* to, std::ptrdiff_t to_stride);
  void (*tile_zero[kTiles])(const void* from, void* to);  // all eight tiles from memory, this one zeroed, all to memory
  // c += a b with c in this tile, a in the next and b in the one after it, modulo eight.
  using TileProduct = void (*)(const void* a, const void* b, void* c);
  TileProduct tile_keys[kTiles], tile_values[kTiles];
  // made of primitives: cpu/simd/exp2.hpp, cpu/operands/float8.hpp
  Unary exp2_quartic, exp2_quintic, log2;
  Unary round_e4m3, round_e5m2, round_e4m3_in_range, round_e5m2_in_range;
};

}  // namespace octavo::cpu
