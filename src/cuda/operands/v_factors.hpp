// Vectors of V as a whole, or of all keys of a head: the range of its scales, factors of the output, the fold. One
// thread block for a head, or for a block of rows.
#pragma once

#include "cuda/operands/channel_stats.hpp"
#include "spec/fold.hpp"

namespace octavo::cuda {

// The largest magnitude that the caller's codes with their scales can have.
template <class Machine>
OCTAVO_DEVICE void range_scales(Machine& machine, const ScaleRangeParams& p) {
  const std::int64_t b = machine.block(1), head = b * p.sequences.heads + machine.block(0);
  const std::int64_t count = spec::scales_per_head(p.groups, sequence_rows(p.sequences, b).rows, p.x.dim);
  const float* const scales = scales_of(p.x, b, machine.block(0));
  const int warp = machine.warp(), threads = machine.warps() * kLanes;
  machine.lanes([&](int lane) {
    float largest = 0;
    for (std::int64_t i = warp * kLanes + lane; i < count; i += threads) {
      largest = spec::grow_amax(largest, scales[i]);
    }
    constexpr float kMost = 0x1.fffffep127f;
    const float amax = largest * p.largest_code;
    grow(p.amax + head, bits_of_f32(amax < kMost ? amax : kMost));
  });
}

// Factors of O that hold for all keys of a head, [sequence, head][dim].
template <class Machine>
OCTAVO_DEVICE void value_factors(Machine& machine, const ValueFactorParams& p) {
  const std::int64_t head = machine.block(1) * p.heads + machine.block(0);
  const float prescale = v_prescale(p.prescale_amax, head);
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        if (p.output_rescale != nullptr && lane == 0) p.output_rescale[head] = 1.0f / v_prescale(p.value_amax, head);
        for (std::int32_t c = lane; c < p.dim; c += kLanes) {
          float factor = 1;
          if (p.granularity == Granularity::token_folded) {
            factor = spec::largest_scale_or_one(f32_of_bits(p.largest[head]));
          } else if (p.scales != nullptr) {
            const bool by_channel = p.granularity == Granularity::channel;
            if (c < p.value_dim) factor = prescale * p.scales[by_channel ? head * p.value_dim + c : head];
          } else if (p.divide) {
            factor = spec::f16_value_divisor(prescale * f32_of_bits(p.ranges.amax[head]));
          } else if (p.ranges.amax != nullptr && c < p.value_dim) {
            const std::int64_t at = p.granularity == Granularity::channel ? head * p.value_dim + c : head;
            factor =
                scale_of_range(prescale * f32_of_bits(p.ranges.amax[at]), p.ranges.nonfinite[at], p.rule.range, false)
                    .scale;
          }
          p.output_factor[head * p.dim + c] = factor;
          if (p.output_addend != nullptr) {
            p.output_addend[head * p.dim + c] = c < p.value_dim ? prescale * p.mean[head * p.value_dim + c] : 0.0f;
          }
        }
      },
      none);
}

// The fold (spec/fold.hpp): b = log2 s~ is added to a key's addend or stored beside it; 1 / s~ corrects the row sum.
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
          const std::int64_t to = at.block * kPackedRows + r;
          const float folded = spec::folded_scale(p.token_scale[to], largest);
          const float b = Machine::log2(folded);
          if (p.fold != nullptr) p.fold[to] = b;
          if (p.fold == nullptr) p.addend[to] = p.addend[to] + b;
          // A NaN in b reaches the rows that see a token without a scale; 1 / s~ must not reach other rows.
          p.inverse[to] = folded != folded ? 1.0f : 1.0f / folded;
        }
      },
      none);
}

}  // namespace octavo::cuda
