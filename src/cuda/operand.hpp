// What kernels are told about a tensor of rows and about the sequences its rows belong to; plain data.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "cuda/attention_params.hpp"
#include "cuda/packed.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo::cuda {

// Q, K or V of the caller's: floats, or codes with their scales and mean (f32, dense, as QuantizedView has them).
struct DeviceRows {
  const void* data = nullptr;
  DType dtype = DType::f32;
  bool pairs = false;                      // floats; channels 2i, 2i + 1 of a row are one aligned word, and dim is even
  std::int64_t strides[4] = {0, 0, 0, 0};  // b (packed: 0), head, row, channel; in elements, of s4 in nibbles
  std::int64_t dim = 0;
  const float* scales = nullptr;  // codes only; null: none
  std::int64_t scales_per_head = 0;
  const float* mean = nullptr;  // codes only; null: nothing was subtracted
  std::int64_t means_per_head = 0;
  bool codes = false;
};

// Whose rows they are. Blocks of 128 rows are numbered as packed.hpp has it.
struct DeviceSequences {
  std::int64_t count = 0, heads = 0;
  std::int64_t rows = 0;      // of each sequence; a packed batch: of all
  DeviceIntegers lens;        // null: every sequence has `rows`
  DeviceIntegers cu_seqlens;  // null: not packed
  BlockGrid grid;
};

// Sequence b. Whatever the caller's integers are, rows begin..begin + rows - 1 lie inside the tensor.
struct SequenceRows {
  std::int64_t begin = 0, rows = 0;
};
OCTAVO_INLINE std::int64_t clamp_rows(std::int64_t x, std::int64_t most) { return x < 0 ? 0 : x > most ? most : x; }
OCTAVO_INLINE SequenceRows sequence_rows(const DeviceSequences& all, std::int64_t b) {
  if (all.cu_seqlens.data != nullptr) {
    const std::int64_t begin = clamp_rows(read_integer(all.cu_seqlens, b), all.rows);
    const std::int64_t end = clamp_rows(read_integer(all.cu_seqlens, b + 1), all.rows);
    return {begin, end > begin ? end - begin : 0};
  }
  return {0, all.lens.data != nullptr ? clamp_rows(read_integer(all.lens, b), all.rows) : all.rows};
}

// The first block of (sequence b, head) in every array that is laid out in blocks.
OCTAVO_INLINE std::int64_t first_block_of(const DeviceSequences& all, std::int64_t b, std::int64_t head,
                                          std::int64_t begin) {
  const std::int64_t within = all.cu_seqlens.data != nullptr ? first_packed_block(begin, b) : 0;
  return b * all.grid.batch_stride + head * all.grid.head_stride + within;
}

// Block `index` of a head: which rows of which sequence. In a packed batch `index` counts over all sequences, and some
// belong to none.
struct BlockOfRows {
  bool live = false;
  std::int64_t b = 0, head = 0;
  std::int64_t row = 0;    // of the sequence, where the block begins
  std::int64_t begin = 0;  // of the sequence in the tensor
  std::int64_t rows = 0;   // of the sequence
  std::int64_t block = 0;  // place in arrays laid out in blocks
};
OCTAVO_INLINE BlockOfRows block_of_rows(const DeviceSequences& all, std::int64_t index, std::int64_t head,
                                        std::int64_t batch) {
  BlockOfRows at;
  at.b = batch;
  at.head = head;
  std::int64_t within = index;
  if (all.cu_seqlens.data != nullptr) {
    std::int64_t low = 0, high = all.count;  // the last sequence that begins at or before the block
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      const std::int64_t begin = clamp_rows(read_integer(all.cu_seqlens, middle), all.rows);
      (first_packed_block(begin, middle) <= index ? low : high) = middle;
    }
    at.b = low;
  }
  const SequenceRows rows = sequence_rows(all, at.b);
  if (all.cu_seqlens.data != nullptr) within = index - first_packed_block(rows.begin, at.b);
  at.begin = rows.begin;
  at.rows = rows.rows;
  at.row = within * kPackedRows;
  at.live = within >= 0 && at.row < rows.rows;
  at.block = first_block_of(all, at.b, head, rows.begin) + within;
  return at;
}

// Blocks of one head that arrays must have room for.
OCTAVO_INLINE constexpr std::int64_t blocks_per_head(std::int64_t sequences, std::int64_t rows, bool packed) {
  return packed ? rows / kPackedRows + sequences : packed_blocks(rows);
}

}  // namespace octavo::cuda
