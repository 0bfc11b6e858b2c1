// Vectors of V as a whole, or of all keys of a head: the range of its scales, factors of the output, the fold. One
// thread block for a head, or for a block of rows.
#pragma once

#include "cuda/operands/load_transform.hpp"
#include "cuda/operands/ranges.hpp"
#include "cuda/operands/stray_rows.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/fold.hpp"

namespace octavo::cuda {

// The largest magnitude that the caller's codes with their scales can have.
template <class Machine>
OCTAVO_DEVICE void range_scales(Machine& machine, const ScaleRangeParams& p) {
  begin_kernel(machine);
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

// s_max of a head without stray tokens (spec/fold.hpp). Whether a token is stray is said by its exponent alone.
// Every warp finds it for itself.
template <class Machine>
OCTAVO_DEVICE float largest_scale(Machine& machine, const LargestScale& p, std::int64_t head) {
  if (p.by_exponent.count == nullptr) return spec::largest_scale_or_one(f32_of_bits(p.largest[head]));
  const std::uint32_t limit = exponent_limit(machine, p.by_exponent.count + 256 * head);
  Registers<Machine, float, 2> largest;  // of all, of those that are not stray
  machine.lanes(
      [&](int lane, float(&x)[2]) {
        x[0] = x[1] = 0;
        for (std::uint32_t e = static_cast<std::uint32_t>(lane); e < 256; e += kLanes) {
          const float scale = f32_of_bits(p.by_exponent.largest[256 * head + e]);
          x[0] = spec::grow_largest_scale(x[0], scale);
          if (e <= limit) x[1] = spec::grow_largest_scale(x[1], scale);
        }
      },
      largest);
  max_over<kLanes>(machine, largest);
  float found = 0;
  machine.lanes([&](int, float(&x)[2]) { found = spec::bounded_largest_scale(x[1], x[0]); }, largest);
  return spec::largest_scale_or_one(found);
}

// Factors of O that hold for all keys of a head, [sequence, head][dim].
// Block `block` of a varlen batch is a sequence; else the first one works.
template <class Machine>
OCTAVO_DEVICE void value_factors(Machine& machine, const ValueFactorParams& p, std::int64_t block) {
  const std::int64_t b = p.varlen ? block : machine.block(2), head = b * p.heads + machine.block(1);
  if (machine.block(1) >= p.heads || b >= p.sequences || (!p.varlen && block > 0)) return;
  const bool folded = p.granularity == Granularity::token_folded;
  const float largest = folded ? largest_scale(machine, p.largest, head) : 1.0f;
  const float prescale = v_prescale(p.prescale_amax, head);
  const int warp = machine.warp();
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        if (p.output_rescale != nullptr && warp == 0 && lane == 0)
          p.output_rescale[head] = 1.0f / v_prescale(p.value_amax, head);
        for (std::int32_t c = warp * kLanes + lane; c < p.dim; c += kCodeWarps * kLanes) {
          float factor = 1;
          if (folded) {
            factor = largest;
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
// `to`: the key among those of all blocks. b is in the addend of smooth_q's bias, too, which other thread blocks make.
template <class Machine>
OCTAVO_DEVICE float folded_addend(const FoldParams& p, float largest, std::int64_t to) {
  return p.presence[to] + Machine::log2(spec::folded_scale(p.token_scale[to], largest));
}
template <class Machine>
OCTAVO_DEVICE void fold_scales(Machine& machine, const FoldParams& p, const BlockOfRows& at) {
  const float largest = largest_scale(machine, p.largest, at.b * p.sequences.heads + at.head);
  const int warp = machine.warp(), threads = machine.warps() * kLanes;
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        for (std::int64_t r = warp * kLanes + lane; r < kPackedRows; r += threads) {
          const std::int64_t to = at.block * kPackedRows + r;
          const float folded = spec::folded_scale(p.token_scale[to], largest);
          if (p.fold != nullptr) p.fold[to] = Machine::log2(folded);
          if (p.addend != nullptr) p.addend[to] = folded_addend<Machine>(p, largest, to);
          // A NaN in b reaches the rows that see a token without a scale; 1 / s~ must not reach other rows.
          p.inverse[to] = folded != folded ? 1.0f : 1.0f / folded;
        }
      },
      none);
}

}  // namespace octavo::cuda
