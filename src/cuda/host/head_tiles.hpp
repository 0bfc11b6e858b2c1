// Which query heads share tiles of query rows. A tile has 128 rows (some kernels: 32 or 64) of one KV head. A call of
// few rows leaves most of it empty, and each query head of the KV head would multiply the same keys for a tile of its
// own: their rows are put side by side instead, each head's in 16, 32 or 64 rows of the tile. Results have the same
// bits for the same number of parts of the keys; fewer tasks may be split into more parts (host/split.hpp).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "cuda/attention/params.hpp"
#include "cuda/host/split.hpp"

namespace octavo::cuda {

// The tiles of heads that have `rows` rows each, `group` of them with one KV head; of a head at least `least_rows` of a
// tile's `tile_rows`. One head a tile where its rows need more than half of it.
constexpr SharedTiles tiles_of_heads(std::int64_t rows, std::int64_t group, std::int64_t tile_rows,
                                     std::int64_t least_rows) {
  const auto power = [](std::int64_t x) {
    return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(x)));
  };
  const std::int64_t head_rows = std::max(power(std::max(rows, least_rows)), tile_rows / power(group));
  const std::int64_t heads = tile_rows / head_rows;
  if (heads <= 1) return {};
  return {std::countr_zero(static_cast<std::uint64_t>(head_rows / 16)), static_cast<std::int32_t>(heads),
          static_cast<std::int32_t>((group + heads - 1) / heads)};
}

// What the tasks of a call depend on: its shape, the kernel's tile, and the number of multiprocessors.
struct TaskCount {
  std::int64_t batches = 1, q_heads = 1, kv_heads = 1;
  std::int64_t rows = 1, blocks = 1, key_blocks = 1;  // rows of a sequence; blocks of 128 rows and keys of a head
  std::int64_t dim = 128, multiprocessors = 1;
  std::int64_t tile_rows = kPackedRows, least_rows = 16;
  bool may_share = true, may_split = true;
  bool varlen = false;  // `rows` are those of all sequences, whose own are not known: every tile of a block counts

  constexpr std::int64_t group() const { return q_heads / kv_heads; }
  constexpr std::int64_t tasks(const SharedTiles& tiles) const {
    const std::int64_t heads = tiles.heads == 1 ? q_heads : kv_heads * tiles.of_kv_head;
    const std::int64_t of_head = varlen ? blocks * (kPackedRows / tile_rows) : (rows + tile_rows - 1) / tile_rows;
    return batches * heads * of_head;
  }
  constexpr std::int64_t parts(const SharedTiles& tiles) const {
    return may_split ? parts_of_keys(tasks(tiles), key_blocks, dim, multiprocessors) : 1;
  }
  constexpr std::int64_t cost(const SharedTiles& tiles) const {
    return tiles_of_split(tasks(tiles), key_blocks, dim, multiprocessors, parts(tiles));
  }
  // The tiles with which the call costs less.
  constexpr SharedTiles tiles() const {
    const SharedTiles shared = tiles_of_heads(rows, group(), tile_rows, least_rows);
    return may_share && cost(shared) < cost({}) ? shared : SharedTiles{};
  }
};

}  // namespace octavo::cuda
