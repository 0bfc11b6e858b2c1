// How Q, K and V lie in device memory between the kernels that make codes and those that multiply them: blocks of 128
// rows, channels padded with zeros to 64, 128 or 256, and beside each block the f32 vectors that granularity, smoothing
// and the fold come to. A score is   T = (Q . K) * query_factor * key_factor + key_addend,   base 2.
//   Q    [query_blocks][128][dim]        rows as they are, behind the last one zeros
//   K    [key_blocks][128][dim]          rows in the order of slots
//   V    s8: [key_blocks][dim][128]      transposed, keys as they are;   f16, bf16: [key_blocks][128][dim]
// Slots: a tensor core hands out a row of scores as columns 2t, 2t+1 of every eighth; the next product wants four
// consecutive keys in one register of 8-bit codes. With K's rows in the order below the scores of a lane are those four
// keys, and nothing moves between the products. 16-bit weights fit as they come: there slot and key are the same.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
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

// Channels of a packed row: one size for both products, the smallest that holds D and Dv. 0: too many.
OCTAVO_INLINE constexpr std::int32_t packed_dim(std::int64_t head_dim, std::int64_t value_dim) {
  const std::int64_t most = head_dim > value_dim ? head_dim : value_dim;
  return most <= 64 ? 64 : most <= 128 ? 128 : most <= 256 ? 256 : 0;
}

// Where the blocks of sequence b, head h begin: b * batch_stride + h * head_stride + first_packed_block(b). A batch of
// equal sequences has blocks(rows) of them per head. In a packed batch the host knows no lengths: sequence b, which
// starts at row `begin` of `total`, then starts at block begin / 128 + b, which leaves room for every rounding up.
struct BlockGrid {
  std::int64_t batch_stride = 0, head_stride = 0;
};
OCTAVO_INLINE constexpr std::int64_t packed_blocks(std::int64_t rows) { return (rows + kPackedRows - 1) / kPackedRows; }
OCTAVO_INLINE constexpr std::int64_t first_packed_block(std::int64_t begin, std::int64_t b) {
  return begin / kPackedRows + b;
}
OCTAVO_INLINE constexpr BlockGrid grid_of_batch(std::int64_t heads, std::int64_t rows) {
  return {heads * packed_blocks(rows), packed_blocks(rows)};
}
OCTAVO_INLINE constexpr BlockGrid grid_of_packed(std::int64_t sequences, std::int64_t total) {
  return {0, total / kPackedRows + sequences};
}

// What codes are stored as. s4 codes are stored as s8: the same integers.
enum class PackedFormat : std::uint8_t { s8, f16, bf16 };
OCTAVO_INLINE constexpr std::int64_t packed_bytes(PackedFormat format) { return format == PackedFormat::s8 ? 1 : 2; }

// A row that holds a NaN or infinity (or whose scale does) has words of zero; its factor or addend is NaN instead, and
// poisons whoever sees it. Blocks whose rows all lie behind the sequence's end are read by nobody and may be left
// alone.
struct PackedQuery {
  const void* codes = nullptr;      // the high plane of wide queries
  const void* codes_low = nullptr;  // sequences of fewer rows than spec::kWideQueryRows are wide: code = 256 high +
                                    // low; null: none is
  const float* factor = nullptr;    // [query_blocks][128]: scale of the row; 1 in 16-bit formats; behind the last row 0
  const float* constant = nullptr;  // [query_blocks][128]: softmax_scale * q . mean of K, natural units; null: 0
  BlockGrid grid;                   // over query heads
};

// [key_blocks][128] each, in the order of slots.
struct PackedKeys {
  const void* codes = nullptr;
  const float* factor = nullptr;   // scale of the key * logit_scale; 16-bit formats: null, logit_scale throughout
  const float* addend = nullptr;   // 0; b of the fold unless `fold` has it; -infinity: no such key; NaN: poisoned
  const float* inverse = nullptr;  // 1 / s~ of the fold, what a weight counts in the row sum; null: 1
  const float* fold = nullptr;     // b of the fold where scores are modified before it joins (softcap, masks, ALiBi)
  BlockGrid grid;                  // over KV heads
};

struct PackedValues {
  const void* codes = nullptr;  // s8: [dim][128] with key 0 first, whatever the slots; behind the last key zeros
  const float* column_scale = nullptr;  // [key_blocks][dim]: scales that hold for one block; null: 1
  const float* output_factor =
      nullptr;  // [sequences * kv_heads][dim]: s_max, V's scales and gains that hold for all keys
  const float* output_addend = nullptr;  // [sequences * kv_heads][dim]: the mean that smooth_v took off, times the
                                         // gains; null: 0
  // [sequences * kv_heads]: what O is multiplied by at the very end, saturating (spec/value_unit.hpp); null: 1
  const float* output_unit = nullptr;
  BlockGrid grid;  // as that of the keys
};

// Which query blocks one launch works on; what is kept per query block is bounded by it. In a packed batch blocks are
// counted over all sequences (first_packed_block) and there is one batch entry.
struct Chunk {
  std::int64_t first_block = 0, blocks = 0;
  std::int64_t first_head = 0, heads = 0;
  std::int64_t first_batch = 0, batches = 0;
};

// smooth_q's correction joined with the keys' addend, f32 [batches][heads][blocks][keys], slots, for one chunk:
//   addend[j] + logit_scale * mean_q . K'_j     (K' rotated, smoothed, not rounded; NaN and -infinity of the addend
//   stay)
// `keys` is 128 * the most blocks of a sequence (a packed batch: of the total). Sequences of wide queries have none and
// take the keys' own.
struct QueryCorrection {
  const float* addend = nullptr;  // null: Q was not smoothed
  std::int64_t keys = 0;
};

}  // namespace octavo::cuda
