// Which rows of which head of which sequence a block works on, and where their operands are. Lengths stand in device
// memory; whatever they say, nothing outside the tensors is touched.
#pragma once

#include <cstdint>

#include "cuda/attention_params.hpp"
#include "cuda/tile/machine.hpp"
#include "spec/query_width.hpp"
#include "spec/visibility.hpp"

namespace octavo::cuda {

// Rows and keys of a sequence, and slots of the packed K, are counted in 32 bits (a slot takes 128 bytes and more of a
// card's memory), places in tensors in 64.
struct AttentionTask {
  bool present = false;
  std::int32_t head = 0, kv_head = 0;
  std::int64_t batch = 0;
  std::int32_t q_rows = 0, k_rows = 0;
  std::int32_t first_row = 0;    // of the block, in the sequence
  std::int64_t q_begin = 0;      // row of the output where the sequence begins
  std::int64_t packed_row = 0;   // first_row in the packed Q
  std::uint32_t first_slot = 0;  // of the sequence in the packed K
  std::uint32_t addend_at = 0;   // of the sequence's keys in what addends_of() gives
  bool wide = false;             // Q has two planes
};

struct Keys32 {
  std::int32_t begin = 0, end = 0;
};

OCTAVO_INLINE std::int64_t clamped(std::int64_t x, std::int64_t most) { return x < 0 ? 0 : x > most ? most : x; }

struct RowsOfSequence {
  std::int64_t begin, rows;
};
OCTAVO_INLINE RowsOfSequence rows_of_sequence(const DeviceIntegers& cu_seqlens, std::int64_t b, std::int64_t total) {
  const std::int64_t begin = clamped(read_integer(cu_seqlens, b), total);
  return {begin, clamped(read_integer(cu_seqlens, b + 1) - begin, total - begin)};
}

// The sequence that packed query block `block` belongs to: the last that does not begin behind it.
OCTAVO_INLINE std::int64_t sequence_of_block(const AttentionKernelParams& p, std::int64_t block) {
  std::int64_t low = 0, high = p.sequences - 1;
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (first_packed_block(clamped(read_integer(p.cu_seqlens_q, middle), p.q_rows), middle) <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Blocks of the grid: x tiles of `rows` query rows, the last first, for under a causal mask those see most; y heads,
// z batch.
template <class Machine>
OCTAVO_DEVICE AttentionTask find_task(const Machine& machine, const AttentionKernelParams& p, int rows) {
  AttentionTask task;
  const std::int64_t tile = machine.blocks(0) - 1 - machine.block(0), tiles = kPackedRows / rows;
  const std::int64_t block = p.chunk.first_block + tile / tiles;
  task.head = static_cast<std::int32_t>(p.chunk.first_head + machine.block(1));
  task.batch = p.chunk.first_batch + machine.block(2);
  // In 32 bits: grids hold no more heads, and a division of 64 is a hundred instructions.
  task.kv_head = task.head / (static_cast<std::int32_t>(p.q_heads) / static_cast<std::int32_t>(p.kv_heads));
  std::int64_t q_rows = p.q_rows, k_rows = p.k_rows, first_q_block = 0, first_k_block = 0;
  if (p.cu_seqlens_q.data != nullptr) {
    task.batch = sequence_of_block(p, block);
    const RowsOfSequence q = rows_of_sequence(p.cu_seqlens_q, task.batch, p.q_rows);
    const RowsOfSequence k = rows_of_sequence(p.cu_seqlens_k, task.batch, p.k_rows);
    task.q_begin = q.begin, q_rows = q.rows, k_rows = k.rows;
    first_q_block = first_packed_block(q.begin, task.batch);
    first_k_block = first_packed_block(k.begin, task.batch);
  } else if (p.kv_lens.data != nullptr) {
    k_rows = clamped(read_integer(p.kv_lens, task.batch), p.k_rows);
  }
  const std::int64_t first_row = (block - first_q_block) * kPackedRows + tile % tiles * rows;
  task.present = first_row >= 0 && first_row < q_rows;  // negative: cu_seqlens that begin or go wrong
  task.q_rows = static_cast<std::int32_t>(q_rows), task.k_rows = static_cast<std::int32_t>(k_rows);
  task.first_row = static_cast<std::int32_t>(first_row);

  const std::int64_t q_block = task.batch * p.q.grid.batch_stride + task.head * p.q.grid.head_stride + first_q_block;
  task.packed_row = q_block * kPackedRows + first_row;
  task.first_slot = static_cast<std::uint32_t>(
      (task.batch * p.k.grid.batch_stride + task.kv_head * p.k.grid.head_stride + first_k_block) * kPackedRows);
  task.wide = p.q.codes_low != nullptr && q_rows < spec::kWideQueryRows;
  task.addend_at = task.first_slot;
  if (p.correction.addend != nullptr && !task.wide) {
    const std::int64_t row =
        (machine.block(2) * p.chunk.heads + machine.block(1)) * p.chunk.blocks + (block - p.chunk.first_block);
    task.addend_at = static_cast<std::uint32_t>(row * p.correction.keys);
  }
  return task;
}

// The keys' own addends, or those with smooth_q's correction, which a chunk's memory keeps below 2^32.
OCTAVO_INLINE const float* addends_of(const AttentionKernelParams& p, bool wide) {
  return p.correction.addend != nullptr && !wide ? p.correction.addend : p.k.addend;
}

OCTAVO_INLINE Keys32 keys_of_row(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t row) {
  const spec::KeyRange seen =
      spec::visible_keys(p.causal, p.window_left, p.window_right, task.q_rows, task.k_rows, row);
  return {static_cast<std::int32_t>(seen.begin), static_cast<std::int32_t>(seen.end)};
}

// Keys that some of `rows` rows from `first` on see; rows behind the sequence's end see none.
OCTAVO_INLINE Keys32 keys_of_rows(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t first,
                                  std::int32_t rows) {
  const std::int32_t last = task.q_rows - first < rows ? task.q_rows : first + rows;
  const spec::KeyRange seen =
      spec::visible_keys_of_rows(p.causal, p.window_left, p.window_right, task.q_rows, task.k_rows, first, last);
  return {static_cast<std::int32_t>(seen.begin), static_cast<std::int32_t>(seen.end)};
}

// Keys that all of them see: both ends of a row's range grow with the row.
OCTAVO_INLINE Keys32 keys_of_all_rows(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t first,
                                      std::int32_t rows) {
  const std::int32_t last = task.q_rows - first < rows ? task.q_rows : first + rows;
  if (first >= last) return {};
  const Keys32 top = keys_of_row(p, task, first), bottom = keys_of_row(p, task, last - 1);
  return {bottom.begin, bottom.end == 0 ? 0 : top.end};
}

}  // namespace octavo::cuda
