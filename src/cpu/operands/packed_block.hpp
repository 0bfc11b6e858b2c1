// A packed key block: K and V in the order in which the products read them, with the vectors of their scales.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "cpu/operands/tile_config.hpp"

namespace octavo::cpu {

// How Q and K enter the first product, weights and V the second. Numbers of every format are exact in f32, those of
// FP8 in bf16 too.
enum class QkForm : std::uint8_t { s8, f32, bf16 };
enum class PvForm : std::uint8_t { s8, f32, bf16 };

// Byte offsets of the parts of one packed key block.
struct BlockLayout {
  std::size_t keys = 0;          // strips [k_steps][kStrip] of words
  std::size_t values = 0;        // strips [key_block / v_depth][kStrip] of words
  std::size_t key_factor = 0;    // f32 [key_block]: scale of K
  std::size_t key_addend = 0;    // f32 [key_block]: b of the fold; -infinity: no such key; NaN: poisoned
  std::size_t inverse = 0;       // f32 [key_block]: 1 / s~ of the fold
  std::size_t fold = 0;          // f32 [key_block]: b of the fold where it is not part of key_addend
  std::size_t v_scale = 0;       // f32 [key_block]: raw scale of a token of V (the fold)
  std::size_t v_start = 0;       // s32 [v_columns]: weight bias times the block's column sums
  std::size_t column_scale = 0;  // f32 [v_columns]: scales of V that hold for this block
  std::size_t flags = 0;         // BlockFlags
  std::size_t bytes = 0;
};

struct BlockFlags {
  // Whether codes of -128 are among the caller's own; some policies take them through other products.
  bool full_range_s8_in_k = false, full_range_s8_in_v = false;
  bool finite_values = true;
  float value_amax = 0;  // of V as it was packed
};

// Columns of the strip that starts at column `strip` of a packed V's `columns`.
OCTAVO_INLINE std::int64_t strip_width(std::int64_t columns, std::int64_t strip) {
  return columns - strip < kStrip ? columns - strip : kStrip;
}

template <class T>
OCTAVO_INLINE T* part(std::byte* base, std::size_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

}  // namespace octavo::cpu
