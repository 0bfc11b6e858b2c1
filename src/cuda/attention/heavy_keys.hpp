// Heavy keys of a query block (spec/kept_keys.hpp): those with the largest smooth_q bias plus, under the fold, b. One
// warp a query block. Each lane finds the largest weight of every 32nd key; as many lanes as there are heavy keys have
// a largest weight of at least the bound, so no lighter key is heavy. Few keys reach it: these are joined one by one
// with the best keys so far, one in each lane.
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

// The `rank`th largest of the lanes' numbers, at least 1.
template <class Machine>
OCTAVO_DEVICE float largest_by_rank(Machine& machine, Registers<Machine, float, 1>& x, std::int32_t rank) {
  Registers<Machine, float, 1> other, bound;
  Registers<Machine, std::int32_t, 1> larger;
  machine.lanes([](int, std::int32_t(&n)[1]) { n[0] = 0; }, larger);
  OCTAVO_ROLLED
  for (int mask = 1; mask < kLanes; ++mask) {
    machine.shuffle_xor(other, x, mask);
    machine.lanes(
        [&](int lane, float(&own)[1], float(&its)[1], std::int32_t(&n)[1]) {
          if (its[0] > own[0] || (its[0] == own[0] && (lane ^ mask) < lane)) ++n[0];
        },
        x, other, larger);
  }
  machine.lanes([&](int, float(&own)[1], std::int32_t(&n)[1],
                    float(&b)[1]) { b[0] = n[0] >= rank - 1 ? own[0] : -__builtin_inff(); },
                x, larger, bound);
  max_over<kLanes>(machine, bound);
  float result = 0;
  machine.lanes([&](int, float(&b)[1]) { result = b[0]; }, bound);
  return result;
}

// Loads of a lane at a time, which hide the latency of global memory from a kernel that is nothing but loads.
constexpr int kWeightsAtOnce = 8;

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

  const bool selects = has_bias && kept.heavy > 0;
  const auto weight_of = [&](std::int64_t key) {
    return key < range.end ? bias[key] + (p.fold != nullptr ? p.fold[first_key + key] : 0.0f) : -__builtin_inff();
  };
  Registers<Machine, float, 1> largest;
  machine.lanes(
      [&](int lane, float(&most)[1]) {
        most[0] = -__builtin_inff();
        OCTAVO_ROLLED
        for (std::int64_t first = range.begin; selects && first < range.end; first += kWeightsAtOnce * kLanes) {
          float weights[kWeightsAtOnce];
          OCTAVO_UNROLL
          for (int i = 0; i < kWeightsAtOnce; ++i) weights[i] = weight_of(first + kLanes * i + lane);
          OCTAVO_UNROLL
          for (int i = 0; i < kWeightsAtOnce; ++i) most[0] = __builtin_fmaxf(most[0], weights[i]);  // skips NaN
        }
      },
      largest);
  const float bound = largest_by_rank(machine, largest, kept.heavy);

  // Lanes from kept.heavy on hold nothing and are never the least.
  const WeighedKey never{__builtin_inff(), -1}, nothing{-__builtin_inff(), 0x7fffffff};
  Registers<Machine, WeighedKey, 1> best, found;
  machine.lanes([&](int lane, WeighedKey(&x)[1]) { x[0] = lane < kept.heavy ? nothing : never; }, best);
  WeighedKey least = nothing;
  // Joins the keys from `first` on, one of each lane, that reach the bound. Those that do not exist, or whose weight is
  // NaN, are none.
  const auto join = [&](std::int64_t first) {
    Registers<Machine, std::uint32_t, 1> heavier;
    machine.lanes(
        [&](int lane, WeighedKey(&x)[1], std::uint32_t(&flag)[1]) {
          const float weight = weight_of(first + lane);
          x[0] = weight > -__builtin_inff() && weight >= bound
                     ? WeighedKey{weight, static_cast<std::int32_t>(first + lane)}
                     : nothing;
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
      Registers<Machine, std::int32_t, 1> holder;
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
  };
  OCTAVO_ROLLED
  for (std::int64_t first = range.begin; selects && first < range.end; first += kWeightsAtOnce * kLanes) {
    Registers<Machine, float, kWeightsAtOnce> weights;
    machine.lanes(
        [&](int lane, float(&w)[kWeightsAtOnce]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kWeightsAtOnce; ++i) w[i] = weight_of(first + kLanes * i + lane);
        },
        weights);
    std::uint32_t reached = 0;  // bit i: some of the 32 keys from kLanes * i on reach the bound
    OCTAVO_UNROLL
    for (int i = 0; i < kWeightsAtOnce; ++i) {
      Registers<Machine, std::uint32_t, 1> flag;
      machine.lanes([&](int, float(&w)[kWeightsAtOnce], std::uint32_t(&f)[1]) { f[0] = w[i] >= bound ? 1u : 0u; },
                    weights, flag);
      if (machine.any(flag)) reached |= 1u << i;
    }
    OCTAVO_ROLLED
    for (int i = 0; reached >> i != 0; ++i) {
      if ((reached >> i & 1) != 0) join(first + kLanes * i);
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
