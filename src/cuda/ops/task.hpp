// Which rows of which head of which sequence a block works on, and where their operands are. Lengths stand in device
// memory; whatever they say, nothing outside the tensors is touched.
#pragma once

#include <cstdint>

#include "cuda/attention_params.hpp"
#include "cuda/tile/machine.hpp"
#include "laws/query_width.hpp"
#include "laws/visibility.hpp"

namespace octavo::cuda {

struct AttentionTask {
  bool present = false;
  std::int64_t batch = 0, head = 0, kv_head = 0;
  std::int64_t q_begin = 0, q_rows = 0, k_rows = 0;  // q_begin: row of the output where the sequence begins
  std::int64_t first_row = 0;                        // of the block, in the sequence
  std::int64_t packed_row = 0;                       // the same in the packed Q
  std::int64_t first_key_block = 0;                  // of the sequence in the packed K
  const float* correction = nullptr;                 // smooth_q's addend of this query block; null: the keys' own
  bool wide = false;                                 // Q has two planes
  laws::KeyRange seen;                               // by any of the block's rows
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
  task.head = p.chunk.first_head + machine.block(1);
  task.batch = p.chunk.first_batch + machine.block(2);
  task.kv_head = task.head / (p.q_heads / p.kv_heads);
  task.q_rows = p.q_rows;
  task.k_rows = p.k_rows;
  std::int64_t first_q_block = 0, k_block = 0;
  if (p.cu_seqlens_q.data != nullptr) {
    task.batch = sequence_of_block(p, block);
    const RowsOfSequence q = rows_of_sequence(p.cu_seqlens_q, task.batch, p.q_rows);
    const RowsOfSequence k = rows_of_sequence(p.cu_seqlens_k, task.batch, p.k_rows);
    task.q_begin = q.begin, task.q_rows = q.rows, task.k_rows = k.rows;
    first_q_block = first_packed_block(q.begin, task.batch);
    k_block = first_packed_block(k.begin, task.batch);
  } else if (p.kv_lens.data != nullptr) {
    task.k_rows = clamped(read_integer(p.kv_lens, task.batch), p.k_rows);
  }
  task.first_row = (block - first_q_block) * kPackedRows + tile % tiles * rows;
  task.present = task.first_row < task.q_rows;
  if (!task.present) return task;

  const std::int64_t q_block = task.batch * p.q.grid.batch_stride + task.head * p.q.grid.head_stride + first_q_block;
  task.packed_row = q_block * kPackedRows + task.first_row;
  task.first_key_block = task.batch * p.k.grid.batch_stride + task.kv_head * p.k.grid.head_stride + k_block;
  task.wide = p.q.codes_low != nullptr && task.q_rows < laws::kWideQueryRows;
  if (p.correction.addend != nullptr && !task.wide) {
    const std::int64_t row =
        (machine.block(2) * p.chunk.heads + machine.block(1)) * p.chunk.blocks + (block - p.chunk.first_block);
    task.correction = p.correction.addend + row * p.correction.keys;
  }
  const std::int64_t last = task.first_row + rows < task.q_rows ? task.first_row + rows : task.q_rows;
  task.seen = laws::visible_keys_of_rows(p.causal, p.window_left, p.window_right, task.q_rows, task.k_rows,
                                         task.first_row, last);
  return task;
}

OCTAVO_INLINE laws::KeyRange keys_of_row(const AttentionKernelParams& p, const AttentionTask& task, std::int64_t row) {
  return laws::visible_keys(p.causal, p.window_left, p.window_right, task.q_rows, task.k_rows, row);
}

}  // namespace octavo::cuda
