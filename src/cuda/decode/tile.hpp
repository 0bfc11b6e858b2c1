// A tile of query rows over a key-value cache: which rows and keys, and what a thread block has of them in shared
// memory. Row r of a KV head is query r / group of the sequence and query head kv_head * group + r % group.
#pragma once

#include "cuda/decode/params.hpp"
#include "cuda/tile/machine.hpp"
#include "spec/cache_layout.hpp"
#include "spec/visibility.hpp"

namespace octavo::cuda {

struct DecodeTask {
  std::int32_t entry = 0, slot = 0, head = 0, tile = 0, split = 0;
  std::int32_t keys = 0, kept_begin = 0;
  std::int32_t rows = 0;  // of the tile
};

template <class Machine>
OCTAVO_DEVICE DecodeTask find_decode_task(const Machine& machine, const DecodeParams& p) {
  DecodeTask task;
  task.split = static_cast<std::int32_t>(machine.block(0));
  const auto head_tile = static_cast<std::int32_t>(machine.block(1));
  task.head = head_tile / p.tiles;
  task.tile = head_tile % p.tiles;
  task.entry = static_cast<std::int32_t>(machine.block(2));
  task.slot = p.slots[task.entry];
  task.keys = device_length(p.cache, task.slot);
  task.kept_begin = p.cache.kept_begins()[task.slot];
  const std::int64_t left = p.group * p.q_rows - std::int64_t{task.tile} * kDecodeRows;
  task.rows = left < kDecodeRows ? static_cast<std::int32_t>(left) : kDecodeRows;
  return task;
}

// Query and query head of row r of the tile.
struct DecodeRow {
  std::int32_t query, head;
};
OCTAVO_INLINE DecodeRow decode_row(const DecodeParams& p, const DecodeTask& task, std::int32_t r) {
  const auto group = static_cast<std::int32_t>(p.group), row = task.tile * kDecodeRows + r;
  return {row / group, task.head * group + row % group};
}

// What key_mask and tree_mask hide from a query.
OCTAVO_INLINE bool has_key_masks(const DecodeParams& p) {
  return p.key_mask.data != nullptr || p.tree_mask.data != nullptr;
}
OCTAVO_INLINE bool hides_key(const DecodeParams& p, const DecodeTask& task, std::int32_t query, std::int32_t key) {
  const std::int64_t entry = p.first_entry + task.entry, drafted = key - (task.keys - p.q_rows);
  const auto* const exists = static_cast<const std::uint8_t*>(p.key_mask.data);
  const auto* const tree = static_cast<const std::uint8_t*>(p.tree_mask.data);
  const Strides<4>&k = p.key_mask.strides, &t = p.tree_mask.strides;
  if (exists != nullptr && exists[entry * k[0] + key * k[3]] == 0) return true;
  return tree != nullptr && drafted >= 0 && tree[entry * t[0] + query * t[2] + drafted * t[3]] == 0;
}

// Shared memory of a thread block for kDim channels. The codes of Q are two planes, code = 256 * high + low; 16 bytes
// behind each row keep the rows' words in different banks. The warps' O takes the place of Q in the end.
template <int kDim>
struct DecodeShared {
  static constexpr std::uint32_t kPlaneRow = kDim + 16, kPlane = kDecodeRows * kPlaneRow;
  static constexpr std::uint32_t kHighAt = 0, kLowAt = kPlane, kFloatsAt = 2 * kPlane, kFloatRow = 4 * kDim;
  static constexpr std::uint32_t kQueryBytes = kFloatsAt + kDecodeRows * kFloatRow;
  static constexpr std::uint32_t kOutputOfWarp = kDecodeRows * kFloatRow, kOutputBytes = kDecodeWarps * kOutputOfWarp;
  static constexpr std::uint32_t kRowsAt = kQueryBytes > kOutputBytes ? kQueryBytes : kOutputBytes;
  // Of each row: 4 f32 (factor of sums of codes, factor of products of floats, softmax_scale * q.mean(K), unused) and
  // 4 s32 (keys seen, kept keys near the diagonal: begin and end).
  static constexpr std::uint32_t kRowBytes = 32;
  static constexpr std::uint32_t kStatesAt = kRowsAt + kDecodeRows * kRowBytes;  // of each warp and row: maximum, sum
  static constexpr std::uint32_t kWeightsAt = kStatesAt + kDecodeWarps * kDecodeRows * 8;  // of kept keys, f32 [64]
  static constexpr std::uint32_t kBytes = kWeightsAt + kDecodeWarps * 64 * 4;
};

struct alignas(16) FourFloats {
  float of[4];
};
struct alignas(16) FourWords {
  std::uint32_t of[4];
};
struct alignas(16) RowKeys {
  std::int32_t begin, end, near_begin, near_end;
};

}  // namespace octavo::cuda
