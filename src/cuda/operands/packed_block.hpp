// The packed operands that the operand kernels write and the attention kernels read: blocks of 128 rows, channels
// padded with zeros to 64, 128 or 256, and for each block the f32 vectors that granularity, smoothing and the fold
// need. A score is   T = (Q . K) * (query_factor * key_factor) + key_addend,   base 2.
//   Q    [query_blocks][128][dim]        rows as they are, behind the last one zeros
//   K    [key_blocks][128][dim]          rows in the order of slots
//   V    s8, e4m3: [key_blocks][dim][128]   transposed, keys as they are;   e4m3 beside s8 scores, whose key block is
//        64: [key_blocks][2][dim][64] likewise;   others: [key_blocks][128][dim]
// Numbers of f32 are three planes of bf16 (bf16_planes.hpp): [blocks][3][128][dim] of Q, K and V.
// Slots: the mma leaves a lane columns 2t, 2t+1 of every eight scores of a row; the second product needs four
// consecutive keys in one register of 8-bit codes. With K's rows in the order below, the scores of a lane are those
// four keys, and no data moves between the products. 16-bit weights need no permutation: there slot equals key.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "cuda/operands/bf16_planes.hpp"
#include "octavo/recipe.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo::cuda {

constexpr std::int64_t kPackedRows = 128;  // of a block of Q, K or V

// Where row `key` of a block of K is stored, and which key a stored row is: inside each 16, key 4t + 2u + e is slot
// 8u + 2t + e.
OCTAVO_INLINE constexpr std::int32_t slot_of_key(std::int32_t key) {
  return (key & ~15) | (key & 2) << 2 | (key & 12) >> 1 | (key & 1);
}
OCTAVO_INLINE constexpr std::int32_t key_of_slot(std::int32_t slot) {
  return (slot & ~15) | (slot & 6) << 1 | (slot & 8) >> 2 | (slot & 1);
}

// The widest packed row; with more channels a warp's O would not fit its registers.
inline constexpr std::int64_t kMostChannels = 256;

// Channels of a packed row: one size for both products, the smallest that holds D and Dv. 0: too many.
OCTAVO_INLINE constexpr std::int32_t packed_dim(std::int64_t head_dim, std::int64_t value_dim) {
  const std::int64_t most = head_dim > value_dim ? head_dim : value_dim;
  return most <= 64 ? 64 : most <= 128 ? 128 : most <= 256 ? 256 : 0;
}

// First block of sequence b, head h: b * batch_stride + h * head_stride + first_varlen_block(b). A batch of equal
// sequences has blocks(rows) of them per head. In a varlen batch the host knows no lengths: sequence b, which starts at
// row `begin` of `total`, starts at block begin / 128 + b, which leaves room for every rounding up.
struct BlockGrid {
  std::int64_t batch_stride = 0, head_stride = 0;
};
OCTAVO_INLINE constexpr std::int64_t packed_blocks(std::int64_t rows) { return (rows + kPackedRows - 1) / kPackedRows; }
OCTAVO_INLINE constexpr std::int64_t first_varlen_block(std::int64_t begin, std::int64_t b) {
  return begin / kPackedRows + b;
}
OCTAVO_INLINE constexpr BlockGrid grid_of_batch(std::int64_t heads, std::int64_t rows) {
  return {heads * packed_blocks(rows), packed_blocks(rows)};
}
OCTAVO_INLINE constexpr BlockGrid grid_of_varlen(std::int64_t sequences, std::int64_t total) {
  return {0, total / kPackedRows + sequences};
}

// How operands are stored. s4 codes are stored as s8, the same integers, but for GPUs that multiply them (8.x): s4, two
// channels a byte, the even one in its low nibble. float8: numbers of E4M3 or E5M2, stored in
// f16, which holds each of them exactly; their products are exact, too, so every GPU gives the recipe's results. e4m3:
// codes, a byte each, for GPUs that multiply them: of V beside s8 scores, or of Q, K and V. f32: as planes of bf16.
enum class PackedFormat : std::uint8_t { s8, f16, bf16, float8, e4m3, f32, s4 };
OCTAVO_INLINE constexpr bool is_integer(PackedFormat format) {
  return format == PackedFormat::s8 || format == PackedFormat::s4;
}
OCTAVO_INLINE constexpr bool is_byte(PackedFormat format) {
  return format == PackedFormat::s8 || format == PackedFormat::e4m3;
}
OCTAVO_INLINE constexpr int packed_planes(PackedFormat format) {
  return format == PackedFormat::f32 ? kPlanesOfF32 : 1;
}
// Of `count` numbers of a row, with all their planes.
OCTAVO_INLINE constexpr std::int64_t packed_bytes(PackedFormat format, std::int64_t count) {
  return format == PackedFormat::s4 ? count / 2 : is_byte(format) ? count : 2 * packed_planes(format) * count;
}
// Where row `row`, counted over blocks, of plane `plane` lies.
template <int planes>
OCTAVO_INLINE constexpr std::int64_t row_of_plane(std::int64_t row, int plane) {
  return planes == 1 ? row : row + (row / kPackedRows * (planes - 1) + plane) * kPackedRows;
}
// The key block of values of FP8 beside integer scores (SageAttention2).
constexpr std::int64_t kFloat8Keys = 64;
// Keys of a tile of transposed V.
OCTAVO_INLINE constexpr std::int64_t value_tile_keys(PackedFormat scores, PackedFormat values) {
  return is_integer(scores) && values == PackedFormat::e4m3 ? kFloat8Keys : kPackedRows;
}

// Four codes of s8, XORed with this, are 128 more as u8 (products_sm90.hpp has them so).
constexpr std::uint32_t kOffsetCodes = 0x80808080u;

// A row that holds a NaN or infinity (or whose scale does) has codes of zero; its factor or addend is NaN instead,
// which makes every result that depends on it NaN. Blocks entirely behind the sequence's end are never read and may
// stay uninitialised.
struct PackedQuery {
  void* codes = nullptr;      // the high plane of 16-bit Q
  void* codes_low = nullptr;  // sequences of fewer rows than spec::kQ16Rows have 16-bit codes, 256 high + low;
                              // null: no sequence has
  // [query_blocks][128]: logit_scale times the scale of the row (f16, bf16: 1); behind the last row 0
  float* factor = nullptr;
  // [query_blocks][128]: softmax_scale * q . mean of K, natural units, which smooth_k took off the row; null: 0
  float* smooth_k_logit_offset = nullptr;
};

// [key_blocks][128] each; the codes in the order of slots, the rest in that of keys: four keys in a row are what a lane
// needs at a time.
struct PackedKeys {
  void* codes = nullptr;
  float* factor = nullptr;   // scale of the key; f16, bf16: null, 1 throughout
  float* addend = nullptr;   // 0; b of the fold unless `fold` has it; -infinity: no such key; NaN: poisoned
  float* inverse = nullptr;  // 1 / s~ of the fold, the factor of a weight in the row sum; null: 1
  float* fold = nullptr;     // b of the fold where score_mod comes first (softcap, masks, ALiBi); else null
};

struct PackedValues {
  void* codes = nullptr;            // behind the last key zeros
  std::uint32_t flip = 0;           // what four s8 codes were XORed with: kOffsetCodes where they are stored as u8
  float* column_scale = nullptr;    // [key_blocks][dim]: scales that hold for one block; null: 1
  float* output_factor = nullptr;   // [sequences * kv_heads][dim]: s_max, V's scales and gains that hold for all keys
  float* output_addend = nullptr;   // [sequences * kv_heads][dim]: the mean that smooth_v took off, times the gains;
                                    // null: 0
  float* output_rescale = nullptr;  // [sequences * kv_heads]: undoes V's prescale (spec/v_prescale.hpp) at the very
                                    // end, saturating; null: 1
};

}  // namespace octavo::cuda
