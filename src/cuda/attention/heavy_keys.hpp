// Heavy keys of a query block (spec/kept_keys.hpp): those with the largest smooth_q bias plus, under the fold, b. One
// warp a query block, with the best keys so far one in each lane; 32 keys are compared with the least of them at once.
#pragma once

#include "cuda/attention/mask.hpp"
#include "cuda/attention/params.hpp"
#include "cuda/operands/load_transform.hpp"
#include "spec/q16.hpp"

namespace octavo::cuda {

static_assert(kHeavyList == kLanes && spec::kMostKeptHeavy <= kHeavyList, "a lane holds one heavy key");

// A key and what it is expected to weigh; larger: heavier, equal ones: the lower key.
struct WeighedKey {
  float weight;
  std::int32_t key;
};
OCTAVO_INLINE bool is_heavier(const WeighedKey& a, const WeighedKey& b) {
  return a.weight > b.weight || (a.weight == b.weight && a.key < b.key);
}
// The heaviest (or, with `least`, the lightest) of the lanes' keys, in all lanes.
template <bool least, class Machine>
OCTAVO_DEVICE WeighedKey heaviest_of_lanes(Machine& machine, Registers<Machine, WeighedKey, 1>& keys) {
  Registers<Machine, float, 1> weight, other_weight;
  Registers<Machine, std::int32_t, 1> key, other_key;
  machine.lanes([](int, WeighedKey(&x)[1], float(&w)[1], std::int32_t(&k)[1]) { w[0] = x[0].weight, k[0] = x[0].key; },
                keys, weight, key);
  OCTAVO_UNROLL
  for (int mask = 1; mask < kLanes; mask *= 2) {
    machine.shuffle_xor(other_weight, weight, mask);
    machine.shuffle_xor(other_key, key, mask);
    machine.lanes(
        [](int, float(&w)[1], std::int32_t(&k)[1], float(&ow)[1], std::int32_t(&ok)[1]) {
          const WeighedKey own{w[0], k[0]}, other{ow[0], ok[0]};
          if (is_heavier(other, own) != least) w[0] = ow[0], k[0] = ok[0];
        },
        weight, key, other_weight, other_key);
  }
  WeighedKey best{};
  machine.lanes([&](int, float(&w)[1], std::int32_t(&k)[1]) { best = {w[0], k[0]}; }, weight, key);
  return best;
}

template <class Machine>
OCTAVO_DEVICE void find_heavy_keys(Machine& machine, const HeavyKeysParams& p) {
  begin_kernel(machine);
  const Chunk& chunk = p.chunk;
  const BlockOfRows rows = block_of_rows(p.queries, chunk.first_block + machine.block(0),
                                         chunk.first_head + machine.block(1), chunk.first_batch + machine.block(2));
  if (!rows.live) return;
  const SequenceRows keys = sequence_rows(p.keys, rows.b);
  const spec::PositionMask mask{p.causal, p.window_left, p.window_right, rows.rows, keys.rows};
  const spec::KeptKeys kept = kept_keys_of(p.kept, mask);
  const std::int64_t entry = (machine.block(2) * chunk.heads + machine.block(1)) * chunk.blocks + machine.block(0);
  float* const bias = p.bias.addend + entry * p.bias.keys;
  const std::int64_t first_key =
      first_block_of(p.keys, rows.b, rows.head / p.heads_per_kv_head, keys.begin) * kPackedRows;
  const bool has_bias = !(p.q16 && rows.rows < spec::kQ16Rows);
  const std::int64_t last_row = rows.row + kPackedRows < rows.rows ? rows.row + kPackedRows : rows.rows;
  const spec::KeyRange range = spec::heavy_candidates(kept, mask, rows.row, last_row);

  // Lanes from kept.heavy on hold nothing and are never the least.
  const WeighedKey never{__builtin_inff(), -1}, nothing{-__builtin_inff(), 0x7fffffff};
  Registers<Machine, WeighedKey, 1> best, found;
  machine.lanes([&](int lane, WeighedKey(&x)[1]) { x[0] = lane < kept.heavy ? nothing : never; }, best);
  WeighedKey least = nothing;
  for (std::int64_t first = range.begin; has_bias && first < range.end; first += kLanes) {
    Registers<Machine, std::uint32_t, 1> heavier;
    machine.lanes(
        [&](int lane, WeighedKey(&x)[1], std::uint32_t(&flag)[1]) {
          const std::int64_t key = first + lane;
          x[0] = nothing;
          if (key < range.end) {
            const float weight = bias[key] + (p.fold != nullptr ? p.fold[first_key + key] : 0.0f);
            // Keys that do not exist, or whose weight is NaN, are none.
            if (weight > -__builtin_inff()) x[0] = {weight, static_cast<std::int32_t>(key)};
          }
          flag[0] = x[0].weight > -__builtin_inff() && is_heavier(x[0], least);
        },
        found, heavier);
    while (machine.any(heavier)) {
      const WeighedKey next = heaviest_of_lanes<false>(machine, found);
      machine.lanes(
          [&](int, WeighedKey(&b)[1], WeighedKey(&x)[1]) {
            if (b[0].key == least.key && b[0].weight == least.weight) b[0] = next;
            if (x[0].key == next.key) x[0] = nothing;
          },
          best, found);
      // Where several lanes hold nothing, each has taken the key: all but the first give it back.
      Registers<Machine, std::int32_t, 1> holder, other;
      machine.lanes([&](int lane, WeighedKey(&b)[1], std::int32_t(&h)[1]) { h[0] = b[0].key == next.key ? lane : 32; },
                    best, holder);
      reduce_over<kLanes>(machine, holder, [](std::int32_t a, std::int32_t b) { return a < b ? a : b; });
      machine.lanes(
          [&](int lane, WeighedKey(&b)[1], std::int32_t(&h)[1]) {
            if (b[0].key == next.key && lane != h[0]) b[0] = nothing;
          },
          best, holder);
      least = heaviest_of_lanes<true>(machine, best);
      machine.lanes(
          [&](int, WeighedKey(&x)[1], std::uint32_t(&flag)[1]) {
            flag[0] = x[0].weight > -__builtin_inff() && is_heavier(x[0], least);
          },
          found, heavier);
    }
  }
  machine.lanes(
      [&](int lane, WeighedKey(&b)[1]) {
        const bool holds = lane < kept.heavy && b[0].weight > -__builtin_inff();
        p.kept.heavy_keys[entry * kHeavyList + lane] = holds ? b[0].key : -1;
        if (!has_bias) return;
        if (holds) bias[b[0].key] = -__builtin_inff();
        if (lane < kept.first && lane < keys.rows) bias[lane] = -__builtin_inff();
      },
      best);
}

}  // namespace octavo::cuda
