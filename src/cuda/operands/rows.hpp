// Parameters of kernels that read a tensor of rows, and which sequence a block of rows belongs to; plain data.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "core/problem.hpp"
#include "cuda/operands/packed_block.hpp"
#include "spec/scale_layout.hpp"

namespace octavo::cuda {

// Q, K or V of the caller's, as floats or as codes.
struct OperandRows : Operand {
  std::int64_t dim = 0;
  bool pairs = false;  // floats; channels 2i, 2i + 1 of a row are one aligned 32- or 64-bit load, and dim is even
  // Codes of varlen sequences whose scales or means are in row order: [sequences] (operands/scale_places.hpp).
  const spec::ScalePlace* places = nullptr;
};
OCTAVO_INLINE spec::ScalePlace place_of(const OperandRows& x, std::int64_t b) {
  return x.places != nullptr ? x.places[b] : spec::ScalePlace{b * x.scales_per_sequence, b * x.means_per_sequence};
}
// Of codes; null: none.
OCTAVO_INLINE const float* scales_of(const OperandRows& x, std::int64_t b, std::int64_t head) {
  return spec::scales_at(x, place_of(x, b), head);
}
OCTAVO_INLINE const float* means_of(const OperandRows& x, std::int64_t b, std::int64_t head) {
  return spec::means_at(x, place_of(x, b), head);
}

// The sequences of a tensor of rows. Blocks of 128 rows are numbered as in packed_block.hpp.
struct DeviceSequences {
  std::int64_t count = 0, heads = 0;
  std::int64_t rows = 0;    // of each sequence; varlen: of all together
  IntegerArray lens;        // null: every sequence has `rows`
  IntegerArray cu_seqlens;  // null: not varlen
  BlockGrid grid;

  OCTAVO_MEMBER bool varlen() const { return cu_seqlens.data != nullptr; }
};

OCTAVO_INLINE std::int64_t clamp_rows(std::int64_t x, std::int64_t most) { return x < 0 ? 0 : x > most ? most : x; }

// Rows of sequence b. Whatever values the caller's integers have, rows begin..begin + rows - 1 lie inside the tensor.
struct SequenceRows {
  std::int64_t begin = 0, rows = 0;
};
OCTAVO_INLINE SequenceRows varlen_rows(const DeviceSequences& all, std::int64_t b) {
  const std::int64_t begin = clamp_rows(all.cu_seqlens[b], all.rows);
  return {begin, clamp_rows(all.cu_seqlens[b + 1] - begin, all.rows - begin)};
}
OCTAVO_INLINE SequenceRows sequence_rows(const DeviceSequences& all, std::int64_t b) {
  if (all.varlen()) return varlen_rows(all, b);
  return {0, all.lens.data != nullptr ? clamp_rows(all.lens[b], all.rows) : all.rows};
}

// The sequence of block `index` of a varlen batch: the last one that begins at or before the block.
OCTAVO_INLINE std::int64_t sequence_of_block(const DeviceSequences& all, std::int64_t index) {
  std::int64_t low = 0, high = all.count - 1;
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (first_varlen_block(clamp_rows(all.cu_seqlens[middle], all.rows), middle) <= index) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Index of the first block of (sequence b, head) in every array that is laid out in blocks.
OCTAVO_INLINE std::int64_t first_block_of(const DeviceSequences& all, std::int64_t b, std::int64_t head,
                                          std::int64_t begin) {
  const std::int64_t within = all.varlen() ? first_varlen_block(begin, b) : 0;
  return b * all.grid.batch_stride + head * all.grid.head_stride + within;
}

// Block `index` of a head: which rows of which sequence. In a varlen batch `index` counts over all sequences, and some
// blocks belong to none.
struct BlockOfRows {
  bool live = false;
  std::int64_t b = 0, head = 0;
  std::int64_t row = 0;    // of the sequence, where the block begins
  std::int64_t begin = 0;  // of the sequence in the tensor
  std::int64_t rows = 0;   // of the sequence
  std::int64_t block = 0;  // index in arrays laid out in blocks
};
OCTAVO_INLINE BlockOfRows block_of_rows(const DeviceSequences& all, std::int64_t index, std::int64_t head,
                                        std::int64_t batch) {
  BlockOfRows at;
  at.b = all.varlen() ? sequence_of_block(all, index) : batch;
  at.head = head;
  const SequenceRows rows = sequence_rows(all, at.b);
  const std::int64_t within = all.varlen() ? index - first_varlen_block(rows.begin, at.b) : index;
  at.begin = rows.begin;
  at.rows = rows.rows;
  at.row = within * kPackedRows;
  at.live = within >= 0 && at.row < rows.rows;
  at.block = first_block_of(all, at.b, head, rows.begin) + within;
  return at;
}

// Blocks of one head that arrays must have room for.
OCTAVO_INLINE constexpr std::int64_t blocks_per_head(std::int64_t sequences, std::int64_t rows, bool varlen) {
  return varlen ? rows / kPackedRows + sequences : packed_blocks(rows);
}

}  // namespace octavo::cuda
