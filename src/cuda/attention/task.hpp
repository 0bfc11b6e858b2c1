// Which rows of which head of which sequence a block works on, and where their operands are. Lengths are in device
// memory; whatever their values, no access goes outside the tensors.
#pragma once

#include <cstdint>

#include "cuda/attention/params.hpp"
#include "cuda/tile/machine.hpp"
#include "spec/q16.hpp"
#include "spec/visibility.hpp"

namespace octavo::cuda {

// Rows and keys of a sequence, and slots of the packed K, are counted in 32 bits (a slot takes at least 64 bytes of
// device memory), offsets in tensors in 64.
struct Keys32 {
  std::int32_t begin = 0, end = 0;
};
struct AttentionTask {
  bool present = false;
  std::int32_t head = 0, kv_head = 0;
  std::int32_t heads = 1;  // from `head` on, which share the tile
  std::int64_t batch = 0;
  std::int32_t q_rows = 0, k_rows = 0;
  std::int32_t first_row = 0;       // of the block, in the sequence
  std::int64_t q_begin = 0;         // row of the output where the sequence begins
  std::int64_t packed_row = 0;      // first_row in the packed Q
  std::uint32_t first_slot = 0;     // of the sequence in the packed K
  std::uint32_t addend_at = 0;      // of the sequence's keys in the array of addends_of()
  bool q16 = false;                 // Q has two planes of codes
  std::int64_t chunk_row = 0;       // first_row among the rows of the chunk
  std::int64_t unfinished_row = 0;  // first_row in UnfinishedRows
  Keys32 part{0, 0x7fffffff};       // of the sequence's keys; its ends are multiples of 128
};

// How many heads the chunk has, those that share a tile counted as one.
OCTAVO_INLINE std::int64_t head_tiles(const AttentionKernelParams& p) {
  return p.shared.of_chunk == 0 ? p.chunk.heads : p.shared.of_chunk;
}

// Tile `tile` of `rows` query rows, head (of head_tiles()) and batch entry, all counted from the chunk's first.
OCTAVO_DEVICE AttentionTask task_of_tile(const AttentionKernelParams& p, int rows, std::int64_t tile, std::int64_t head,
                                         std::int64_t batch) {
  AttentionTask task;
  const std::int64_t tiles = kPackedRows / rows;
  const std::int64_t block = p.chunk.first_block + tile / tiles;
  // In 32 bits: grids hold no more heads, and a 64-bit division is a hundred instructions.
  const auto group = static_cast<std::int32_t>(p.queries.heads) / static_cast<std::int32_t>(p.keys.heads);
  if (p.shared.heads > 1) {
    const auto index = static_cast<std::int32_t>(head);
    const std::int32_t first = index % p.shared.of_kv_head * p.shared.heads, left = group - first;
    head = index / p.shared.of_kv_head * group + first;
    task.heads = left < p.shared.heads ? left : p.shared.heads;
  }
  task.head = static_cast<std::int32_t>(p.chunk.first_head + head);
  task.batch = p.chunk.first_batch + batch;
  task.kv_head = task.head / group;
  SequenceRows q{0, p.queries.rows}, k{0, p.keys.rows};
  std::int64_t first_q_block = 0, first_k_block = 0;
  if (p.queries.varlen()) {
    task.batch = sequence_of_block(p.queries, block);
    q = varlen_rows(p.queries, task.batch), k = varlen_rows(p.keys, task.batch);
    first_q_block = first_varlen_block(q.begin, task.batch);
    first_k_block = first_varlen_block(k.begin, task.batch);
  } else if (p.keys.lens.data != nullptr) {
    k.rows = clamp_rows(p.keys.lens[task.batch], p.keys.rows);
  }
  const std::int64_t first_row = (block - first_q_block) * kPackedRows + tile % tiles * rows;
  task.present = first_row >= 0 && first_row < q.rows;  // negative: cu_seqlens are not valid
  task.q_begin = q.begin;
  task.q_rows = static_cast<std::int32_t>(q.rows), task.k_rows = static_cast<std::int32_t>(k.rows);
  task.first_row = static_cast<std::int32_t>(first_row);

  const BlockGrid &q_grid = p.queries.grid, &k_grid = p.keys.grid;
  const std::int64_t q_block = task.batch * q_grid.batch_stride + task.head * q_grid.head_stride + first_q_block;
  task.packed_row = q_block * kPackedRows + first_row;
  task.first_slot = static_cast<std::uint32_t>(
      (task.batch * k_grid.batch_stride + task.kv_head * k_grid.head_stride + first_k_block) * kPackedRows);
  task.q16 = p.q.codes_low != nullptr && q.rows < spec::kQ16Rows;
  task.addend_at = task.first_slot;
  const std::int64_t row = (batch * p.chunk.heads + head) * p.chunk.blocks + (block - p.chunk.first_block);
  task.chunk_row = task.unfinished_row = row * kPackedRows + tile % tiles * rows;
  if (p.smooth_q_bias.addend != nullptr && !task.q16) {
    task.addend_at = static_cast<std::uint32_t>(row * p.smooth_q_bias.keys);
  }
  return task;
}

// Which of its task's heads a warp's rows belong to, and the first of its 16 rows in the sequence; warps that are left
// over have none, like those behind the last row.
OCTAVO_DEVICE std::int32_t head_of_warp(const AttentionKernelParams& p, std::int32_t warp) {
  return warp >> p.shared.warps_log2;
}
OCTAVO_DEVICE std::int32_t first_row_of_warp(const AttentionKernelParams& p, const AttentionTask& task,
                                             std::int32_t warp) {
  const std::int32_t head = head_of_warp(p, warp);
  return head < task.heads ? task.first_row + 16 * (warp - (head << p.shared.warps_log2)) : task.q_rows;
}

// The part of a thread block's task that is a warp's, whose rows begin at first_row.
OCTAVO_DEVICE AttentionTask task_of_warp(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t warp) {
  AttentionTask own = task;
  own.first_row = first_row_of_warp(p, task, warp);
  const std::int32_t head = own.first_row < task.q_rows ? head_of_warp(p, warp) : 0;
  own.head += head;
  // Heads that share a tile have one block of rows each, one behind the other.
  const std::int64_t rows = head * kPackedRows + (own.first_row - task.first_row);
  own.packed_row += rows, own.chunk_row += rows, own.unfinished_row += rows;
  if (p.smooth_q_bias.addend != nullptr && !task.q16) {
    own.addend_at += static_cast<std::uint32_t>(head * p.smooth_q_bias.keys);
  }
  return own;
}

// The keys' own addends, or those with smooth_q's bias. 32 bits count these: a chunk has at most 128 MiB of them, or
// those of one query block (host/plan.cpp).
OCTAVO_INLINE const float* addends_of(const AttentionKernelParams& p, bool q16) {
  return p.smooth_q_bias.addend != nullptr && !q16 ? p.smooth_q_bias.addend : p.k.addend;
}

OCTAVO_INLINE Keys32 keys_of_row(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t row) {
  const spec::KeyRange seen =
      spec::visible_keys(p.causal, p.window_left, p.window_right, task.q_rows, task.k_rows, row);
  return {static_cast<std::int32_t>(seen.begin), static_cast<std::int32_t>(seen.end)};
}

// Keys of the task's part that some of `rows` rows from `first` on see; rows behind the sequence's end see none.
OCTAVO_INLINE Keys32 keys_of_rows(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t first,
                                  std::int32_t rows) {
  const std::int32_t last = task.q_rows - first < rows ? task.q_rows : first + rows;
  const spec::KeyRange seen =
      spec::visible_keys_of_rows(p.causal, p.window_left, p.window_right, task.q_rows, task.k_rows, first, last);
  const auto begin = static_cast<std::int32_t>(seen.begin), end = static_cast<std::int32_t>(seen.end);
  if (p.unfinished.parts == 1) return {begin, end};
  const Keys32 own{begin > task.part.begin ? begin : task.part.begin, end < task.part.end ? end : task.part.end};
  return own.begin < own.end ? own : Keys32{};
}

// Keys that all of them see: both ends of a row's range grow with the row.
OCTAVO_INLINE Keys32 keys_of_all_rows(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t first,
                                      std::int32_t rows) {
  const std::int32_t last = task.q_rows - first < rows ? task.q_rows : first + rows;
  if (first >= last) return {};
  const Keys32 top = keys_of_row(p, task, first), bottom = keys_of_row(p, task, last - 1);
  return {bottom.begin, bottom.end == 0 ? 0 : top.end};
}

// Leaves the task part `part` of the keys that its `rows` rows see, in whole blocks of keys.
OCTAVO_DEVICE void take_part(const AttentionKernelParams& p, AttentionTask& task, int rows, std::int32_t part) {
  const Keys32 seen = keys_of_rows(p, task, task.first_row, rows);
  constexpr auto kBlock = static_cast<std::int32_t>(kPackedRows);
  const std::int32_t begin = seen.begin / kBlock * kBlock, blocks = (seen.end - begin + kBlock - 1) / kBlock;
  const std::int32_t keys = (blocks + p.unfinished.parts - 1) / p.unfinished.parts * kBlock;
  task.part = {begin + part * keys, begin + (part + 1) * keys};
  task.unfinished_row += part * (p.chunk.batches * p.chunk.heads * p.chunk.blocks * kPackedRows);
}

// Blocks of the grid: x tiles of `rows` query rows and parts of their keys, the last rows first, since with a causal
// mask those see most keys; y heads, z batch.
template <class Machine>
OCTAVO_DEVICE AttentionTask find_task(const Machine& machine, const AttentionKernelParams& p, int rows) {
  const std::int64_t index = machine.blocks(0) - 1 - machine.block(0);
  if (p.unfinished.parts == 1) return task_of_tile(p, rows, index, machine.block(1), machine.block(2));
  const auto at = static_cast<std::uint32_t>(index), parts = static_cast<std::uint32_t>(p.unfinished.parts);
  AttentionTask task = task_of_tile(p, rows, at / parts, machine.block(1), machine.block(2));
  if (task.present) take_part(p, task, rows, static_cast<std::int32_t>(at % parts));
  return task;
}

}  // namespace octavo::cuda
