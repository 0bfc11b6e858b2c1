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
  std::int32_t q_begin = 0, q_rows = 0;
  std::int32_t rows = 0;  // of the tile
};

// Fills in what belongs to task.entry.
OCTAVO_INLINE void find_entry(const DecodeParams& p, DecodeTask& task) {
  const DecodeEntry& entry = p.entries[task.entry];
  task.slot = entry.slot;
  task.q_begin = entry.q_begin;
  task.q_rows = entry.q_rows;
  task.keys = device_length(p.cache, task.slot);
  task.kept_begin = p.cache.kept_begins()[task.slot];
}

template <class Machine>
OCTAVO_DEVICE DecodeTask find_decode_task(const Machine& machine, const DecodeParams& p) {
  DecodeTask task;
  task.split = static_cast<std::int32_t>(machine.block(0));
  const auto head_tile = static_cast<std::int32_t>(machine.block(1));
  task.head = head_tile / p.tiles;
  task.tile = head_tile % p.tiles;
  task.entry = static_cast<std::int32_t>(machine.block(2));
  find_entry(p, task);
  const std::int64_t left = p.group * task.q_rows - std::int64_t{task.tile} * kDecodeRows;
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

// Shared memory of a thread block: what the rows' states need, then the rows of Q, whose place the warps' O takes in
// the end. `dim`: channels, 64, 128 or 256. Padding behind rows of Q keeps their words in different banks.
struct DecodeShared {
  // Of each row: 4 f32 (factor of the block's products, factor of products of kept keys, softmax_scale * q.mean(K),
  // what is taken off the scores), RowKeys, RowTermsOfCache.
  static constexpr std::uint32_t kRowsAt = 0, kRowBytes = 48;
  static constexpr std::uint32_t kStatesAt = kRowsAt + kDecodeRows * kRowBytes;  // of each warp and row: maximum, sum
  static constexpr std::uint32_t kWeightsAt = kStatesAt + kDecodeWarps * kDecodeRows * 8;  // of kept keys, f32 [64]
  static constexpr std::uint32_t kQueriesAt = kWeightsAt + kDecodeWarps * 64 * 4;

  std::uint32_t dim;

  // Codes: two planes of bytes, then f32.
  OCTAVO_MEMBER constexpr std::uint32_t code_row() const { return dim + 16; }
  OCTAVO_MEMBER constexpr std::uint32_t code_plane(std::uint32_t i) const {
    return kQueriesAt + i * kDecodeRows * code_row();
  }
  OCTAVO_MEMBER constexpr std::uint32_t floats(std::uint32_t row) const { return code_plane(2) + row * 4 * dim; }
  // Floats: up to three planes of 16 bits.
  OCTAVO_MEMBER constexpr std::uint32_t float_row() const { return 2 * dim + 32; }
  OCTAVO_MEMBER constexpr std::uint32_t float_plane(std::uint32_t i) const {
    return kQueriesAt + i * kDecodeRows * float_row();
  }
  // f32 of a warp's row of O.
  OCTAVO_MEMBER constexpr std::uint32_t output(std::uint32_t warp, std::uint32_t row) const {
    return kQueriesAt + (warp * kDecodeRows + row) * 4 * dim;
  }
  OCTAVO_MEMBER constexpr std::uint32_t bytes() const { return output(kDecodeWarps, 0); }
};
static_assert(DecodeShared{64}.floats(kDecodeRows) <= DecodeShared{64}.bytes());
static_assert(DecodeShared{64}.float_plane(3) <= DecodeShared{64}.bytes());

OCTAVO_INLINE constexpr std::uint32_t row_in_shared(std::int32_t row) {
  return DecodeShared::kRowsAt + static_cast<std::uint32_t>(row) * DecodeShared::kRowBytes;
}

struct alignas(16) FourFloats {
  float of[4];
};
struct alignas(16) FourWords {
  std::uint32_t of[4];
};
// Keys that a row sees, and its kept keys near the diagonal.
struct alignas(16) RowKeys {
  std::int32_t begin, end, near_begin, near_end;
};

}  // namespace octavo::cuda
