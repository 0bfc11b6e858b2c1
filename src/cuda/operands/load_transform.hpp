// Loads rows of the block at hand and applies the transform that comes before scaling: V's prescale, the gains of Q and
// K, the rotation.
#pragma once

#include "cuda/operands/load.hpp"
#include "cuda/operands/params.hpp"
#include "cuda/operands/rotate.hpp"
#include "spec/v_prescale.hpp"

namespace octavo::cuda {

// Rows that a warp loads at once: 8 numbers a lane, 16 bytes of 16-bit rows. The many warps of a
// multiprocessor hide the latency of global memory (tile_config.hpp), and the code stays small.
template <int per_lane>
constexpr int kRowsAtOnce = 8 / per_lane;

// The prescale of V of head `at`, counted over sequences (spec/v_prescale.hpp).
OCTAVO_DEVICE float v_prescale(const std::uint32_t* amax, std::int64_t at) {
  return amax == nullptr ? 1.0f : spec::v_prescale(f32_of_bits(amax[at]));
}

// Rows row.. of the block, times V's prescale or the gains, rotated where the steps ask for it.
template <int per_lane, class Machine>
OCTAVO_DEVICE void load_transformed(Machine& machine, Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>>& x,
                                    const RowSteps& steps, const BlockOfRows& at, std::int64_t row) {
  const std::int64_t from =
      at.b * steps.x.strides[0] + at.head * steps.x.strides[1] + (at.begin + row) * steps.x.strides[2];
  load_rows<per_lane, kRowsAtOnce<per_lane>>(machine, x, steps.x, from, at.rows - row);
  const float prescale = v_prescale(steps.prescale_amax, at.b * steps.sequences.heads + at.head);
  if (prescale != 1) {
    machine.lanes(
        [&](int, float(&v)[per_lane * kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane * kRowsAtOnce<per_lane>; ++i) v[i] = v[i] * prescale;
        },
        x);
  }
  if (steps.gain != nullptr) {
    const std::int64_t head = at.b * (steps.sequences.heads / steps.heads_per_gain) + at.head / steps.heads_per_gain;
    const float* const gain = steps.gain + head * steps.x.dim;
    machine.lanes(
        [&](int lane, float(&v)[per_lane * kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int s = 0; s < per_lane; ++s) {
            const int c = channel_of(lane, s);
            if (c >= steps.x.dim) continue;
            const float factor = gain[c];
            OCTAVO_UNROLL
            for (int r = 0; r < kRowsAtOnce<per_lane>; ++r) v[r * per_lane + s] = v[r * per_lane + s] * factor;
          }
        },
        x);
  }
  if (steps.rotate) rotate_rows<per_lane, kRowsAtOnce<per_lane>>(machine, x, steps.x.dim);
}

template <class Machine>
OCTAVO_DEVICE BlockOfRows own_block(const Machine& machine, const DeviceSequences& sequences) {
  return block_of_rows(sequences, machine.block(0), machine.block(1), machine.block(2));
}

// A grid that several operands share: block x works on part x modulo `parts`. y and z suffice for the largest part.
struct PartOfGrid {
  std::int32_t part = 0;
  std::int64_t block = 0;  // of the part
};
template <class Machine>
OCTAVO_DEVICE PartOfGrid part_of_grid(const Machine& machine, std::int32_t parts) {
  const auto x = static_cast<std::uint32_t>(machine.block(0)), n = static_cast<std::uint32_t>(parts);
  return {static_cast<std::int32_t>(x % n), x / n};
}
template <class Machine>
OCTAVO_DEVICE BlockOfRows own_block(const Machine& machine, const DeviceSequences& sequences, const PartOfGrid& own) {
  BlockOfRows at = block_of_rows(sequences, own.block, machine.block(1), machine.block(2));
  at.live = at.live && machine.block(1) < sequences.heads;
  return at;
}

}  // namespace octavo::cuda
