// What is owed to V as a whole, or to all keys of a head at once: its unit near f32's end, factors of the output, the
// fold's vectors. Small vectors; one block of threads a head, or a block of rows.
#pragma once

#include "cuda/kernels/statistics.hpp"
#include "spec/fold.hpp"

namespace octavo::cuda {

// The largest magnitude that scales of the caller's allow.
template <class Machine>
OCTAVO_DEVICE void range_scales(Machine& machine, const ScaleRangeParams& p) {
  const std::int64_t b = machine.block(1), head = b * p.sequences.heads + machine.block(0);
  const std::int64_t count = spec::scales_per_head(p.groups, sequence_rows(p.sequences, b).rows, p.dim);
  const int warp = machine.warp(), threads = machine.warps() * kLanes;
  machine.lanes([&](int lane) {
    float largest = 0;
    for (std::int64_t i = warp * kLanes + lane; i < count; i += threads) {
      largest = spec::grow_amax(largest, p.scales[head * p.scales_per_head + i]);
    }
    constexpr float kMost = 0x1.fffffep127f;
    const float amax = largest * p.largest_code;
    grow(p.amax + head, bits_of_f32(amax < kMost ? amax : kMost));
  });
}

// What all keys of a head owe to the output, [sequence, head][dim].
template <class Machine>
OCTAVO_DEVICE void value_factors(Machine& machine, const ValueFactorParams& p) {
  const std::int64_t head = machine.block(1) * p.heads + machine.block(0);
  const float unit = unit_of(p.unit_amax, head);
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        if (p.output_unit != nullptr && lane == 0) p.output_unit[head] = 1.0f / unit_of(p.value_amax, head);
        for (std::int32_t c = lane; c < p.dim; c += kLanes) {
          float factor = 1;
          if (p.granularity == Granularity::token_folded) {
            factor = spec::largest_scale_or_one(f32_of_bits(p.largest[head]));
          } else if (p.scales != nullptr) {
            const bool by_channel = p.granularity == Granularity::channel;
            if (c < p.value_dim) factor = unit * p.scales[by_channel ? head * p.value_dim + c : head];
          } else if (p.divide) {
            factor = spec::f16_value_divisor(unit * f32_of_bits(p.ranges.amax[head]));
          } else if (p.ranges.amax != nullptr && c < p.value_dim) {
            const std::int64_t at = p.granularity == Granularity::channel ? head * p.value_dim + c : head;
            factor = scale_of_range(unit * f32_of_bits(p.ranges.amax[at]), p.ranges.odd[at], p.rule.range, false).scale;
          }
          p.output_factor[head * p.dim + c] = factor;
          if (p.output_addend != nullptr) {
            p.output_addend[head * p.dim + c] = c < p.value_dim ? unit * p.mean[head * p.value_dim + c] : 0.0f;
          }
        }
      },
      none);
}

// The fold (spec/fold.hpp): b = log2 s~ joins a key's addend or stands beside it, 1 / s~ leaves the row sum.
template <class Machine>
OCTAVO_DEVICE void fold_scales(Machine& machine, const FoldParams& p) {
  const BlockOfRows at = own_block(machine, p.sequences);
  if (!at.live) return;
  const float largest = spec::largest_scale_or_one(f32_of_bits(p.largest[at.b * p.sequences.heads + at.head]));
  const int warp = machine.warp(), threads = machine.warps() * kLanes;
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        for (std::int64_t r = warp * kLanes + lane; r < kPackedRows; r += threads) {
          const float folded = spec::folded_scale(p.token_scale[at.block * kPackedRows + r], largest);
          const std::int64_t to = at.block * kPackedRows + (p.slots ? slot_of_key(static_cast<std::int32_t>(r)) : r);
          const float b = Machine::log2(folded);
          if (p.fold != nullptr) p.fold[to] = b;
          if (p.fold == nullptr) p.addend[to] = p.addend[to] + b;
          // b poisons the rows that see a token without a scale; nothing may reach those that do not.
          p.inverse[to] = folded != folded ? 1.0f : 1.0f / folded;
        }
      },
      none);
}

}  // namespace octavo::cuda
