// How many tasks share the keys of a block of query rows (those of a thread block, mostly 128). Few rows are few tasks:
// 8 heads of 128 rows leave 124 of 132 multiprocessors without work. Parts of the keys are tasks of their own; each
// leaves O and its row's state in scratch memory, and one more kernel merges them (attention/merge_parts.hpp).
#pragma once

#include <algorithm>
#include <cstdint>

namespace octavo::cuda {

constexpr std::int64_t kMostParts = 32;

// What a call costs, in units of a tile of 128 rows and 128 keys, by count: a Hopper multiprocessor needs about 1500
// clocks for one. The merge is one launch more, 3 microseconds; a part's rows, written and read in f32, are 8 bytes a
// channel, for which a multiprocessor's share of the L2 cache needs as long as for dim / 16 tiles. Not measured.
constexpr std::int64_t kMergeTiles = 4;
constexpr std::int64_t tiles_of_split(std::int64_t tasks, std::int64_t key_blocks, std::int64_t dim,
                                      std::int64_t multiprocessors, std::int64_t parts) {
  const std::int64_t rounds = (tasks * parts + multiprocessors - 1) / multiprocessors;
  const std::int64_t tiles = (key_blocks + parts - 1) / parts;
  return parts == 1 ? rounds * tiles : rounds * (tiles + dim / 16) + kMergeTiles;
}

// The number of parts that costs least, the fewest of those; 1: no split. It depends on the call's shape and the GPU
// alone.
constexpr std::int64_t parts_of_keys(std::int64_t tasks, std::int64_t key_blocks, std::int64_t dim,
                                     std::int64_t multiprocessors) {
  std::int64_t best = 1;
  if (tasks <= 0 || tasks >= multiprocessors) return best;
  for (std::int64_t parts = 2; parts <= std::min(kMostParts, key_blocks); ++parts) {
    if (tiles_of_split(tasks, key_blocks, dim, multiprocessors, parts) <
        tiles_of_split(tasks, key_blocks, dim, multiprocessors, best)) {
      best = parts;
    }
  }
  return best;
}

}  // namespace octavo::cuda
