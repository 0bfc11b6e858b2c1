// Which keys exist for a call: those of key_mask and kv_lens, in robust recipes only those that some row may see by
// its position and the mask. The others are zeros, count in no statistic, and their addend is -infinity.
#pragma once

#include "cuda/operands/load_transform.hpp"
#include "cuda/operands/read_number.hpp"
#include "spec/visibility.hpp"

namespace octavo::cuda {

// Whether the mask shows the key to some row that sees it by position, in some query head of the group.
template <class Machine>
OCTAVO_DEVICE bool is_shown(const SeenKeysParams& p, const BlockOfRows& at, std::int64_t queries, std::int64_t key) {
  const spec::KeyRange all =
      spec::visible_keys_of_rows(p.causal, p.window_left, p.window_right, queries, at.rows, 0, queries);
  if (key < all.begin || key >= all.end) return false;
  if (p.mask.data == nullptr) return true;
  const std::int64_t heads = p.mask.strides[1] == 0 ? 1 : p.heads_per_kv_head;
  const std::int64_t rows = p.mask.strides[2] == 0 ? 1 : queries;
  OCTAVO_ROLLED
  for (std::int64_t i = 0; i < heads * rows; ++i) {
    const std::int64_t head = at.head * p.heads_per_kv_head + i / rows, row = i % rows;
    const spec::KeyRange seen =
        rows == 1 ? all : spec::visible_keys(p.causal, p.window_left, p.window_right, queries, at.rows, row);
    if (key < seen.begin || key >= seen.end) continue;
    const std::int64_t element = at.b * p.mask.strides[0] + head * p.mask.strides[1] + row * p.mask.strides[2];
    if (read_number<Machine>(p.mask, element + key * p.mask.strides[3]) != -__builtin_inff()) return true;
  }
  return false;
}

// One thread a key of the block.
template <class Machine>
OCTAVO_DEVICE void mark_seen(Machine& machine, const SeenKeysParams& p) {
  begin_kernel(machine);
  const BlockOfRows at = own_block(machine, p.keys);
  if (!at.live) return;
  const std::int64_t queries = sequence_rows(p.queries, at.b).rows;
  const int warp = machine.warp(), threads = machine.warps() * kLanes;
  machine.lanes([&](int lane) {
    for (std::int64_t r = warp * kLanes + lane; r < kPackedRows; r += threads) {
      const std::int64_t key = at.row + r;
      bool seen = key < at.rows && (!p.robust || is_shown<Machine>(p, at, queries, key));
      if (p.kv_lens.data != nullptr) seen = seen && key < p.kv_lens[at.b];
      if (seen && p.key_mask.data != nullptr) {
        const auto* exists = static_cast<const std::uint8_t*>(p.key_mask.data);
        seen = exists[at.b * p.key_mask.strides[0] + key * p.key_mask.strides[3]] != 0;
      }
      p.seen[at.block * kPackedRows + r] = seen;
    }
  });
}

// One thread a row of Q. Rows that see no key by position stay as they are.
template <class Machine>
OCTAVO_DEVICE void clear_blind_rows(Machine& machine, const BlindRowsParams& p) {
  begin_kernel(machine);
  const BlockOfRows at = own_block(machine, p.queries);
  if (!at.live) return;
  const SequenceRows keys = sequence_rows(p.keys, at.b);
  const std::int64_t first_key = first_block_of(p.keys, at.b, at.head / p.heads_per_kv_head, keys.begin) * kPackedRows;
  const int warp = machine.warp(), threads = machine.warps() * kLanes;
  machine.lanes([&](int lane) {
    for (std::int64_t r = warp * kLanes + lane; r < kPackedRows && at.row + r < at.rows; r += threads) {
      float& factor = p.factor[at.block * kPackedRows + r];
      if (factor == factor) continue;
      const spec::KeyRange range =
          spec::visible_keys(p.causal, p.window_left, p.window_right, at.rows, keys.rows, at.row + r);
      bool sees = false;
      for (std::int64_t key = range.begin; key < range.end && !sees; ++key) sees = p.seen[first_key + key] != 0;
      if (!sees) factor = 0;
    }
  });
}

}  // namespace octavo::cuda
