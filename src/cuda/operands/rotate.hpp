// The rotation (spec/rotation.hpp) of rows in registers, bit for bit: butterflies at distance 1 and from 64 on lie
// within a lane, those between are shuffles.
// Blocks of the rotation are aligned powers of two, so a channel takes part in the step at distance h where the whole
// aligned group of 2h channels around it exists: (c | (2h - 1)) < dim. No table of blocks is needed.
#pragma once

#include "cuda/operands/load.hpp"
#include "spec/rotation.hpp"

namespace octavo::cuda {

OCTAVO_INLINE constexpr bool has_butterfly(int channel, int h, std::int64_t dim) {
  return (channel | (2 * h - 1)) < dim;
}
// f32(1 / sqrt(n)) of the channel's block of n channels.
OCTAVO_INLINE constexpr float rotation_factor_of(int channel, std::int64_t dim) {
  int n = 1;
  while (has_butterfly(channel, n, dim)) n *= 2;
  return spec::rotation_factor(n);
}

// H x / sqrt(n) of each row, in place.
template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void hadamard_rows(Machine& machine, Registers<Machine, float, per_lane * count>& x, std::int64_t dim) {
  constexpr int kAll = per_lane * count;
  machine.lanes(
      [&](int lane, float(&v)[kAll]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kAll; i += 2) {
          if (!has_butterfly(channel_of(lane, i % per_lane), 1, dim)) continue;
          const float a = v[i], b = v[i + 1];
          v[i] = a + b;
          v[i + 1] = a - b;
        }
      },
      x);
  OCTAVO_UNROLL
  for (int h = 2; h <= 32; h *= 2) {
    if (2 * h > dim) break;
    Registers<Machine, float, kAll> other;
    machine.shuffle_xor(other, x, h / 2);
    machine.lanes(
        [&](int lane, float(&v)[kAll], float(&o)[kAll]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kAll; ++i) {
            if (!has_butterfly(channel_of(lane, i % per_lane), h, dim)) continue;
            v[i] = (lane & h / 2) == 0 ? v[i] + o[i] : o[i] - v[i];
          }
        },
        x, other);
  }
  machine.lanes(
      [&](int lane, float(&v)[kAll]) {
        OCTAVO_UNROLL
        for (int step = 2; step < per_lane; step *= 2) {  // numbers apart; 32 * step channels
          OCTAVO_UNROLL
          for (int i = 0; i < kAll; ++i) {
            if ((i % per_lane & step) != 0 || !has_butterfly(channel_of(lane, i % per_lane), 32 * step, dim)) continue;
            const float a = v[i], b = v[i + step];
            v[i] = a + b;
            v[i + step] = a - b;
          }
        }
        OCTAVO_UNROLL
        for (int s = 0; s < per_lane; ++s) {
          const float factor = rotation_factor_of(channel_of(lane, s), dim);
          OCTAVO_UNROLL
          for (int r = 0; r < count; ++r) v[r * per_lane + s] = v[r * per_lane + s] * factor;
        }
      },
      x);
}

template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void flip_signs(Machine& machine, Registers<Machine, float, per_lane * count>& x) {
  machine.lanes(
      [&](int lane, float(&v)[per_lane * count]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane * count; ++i) {
          if (spec::rotation_negates(channel_of(lane, i % per_lane))) v[i] = -v[i];
        }
      },
      x);
}

template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void rotate_rows(Machine& machine, Registers<Machine, float, per_lane * count>& x, std::int64_t dim) {
  flip_signs<per_lane, count>(machine, x);
  hadamard_rows<per_lane, count>(machine, x, dim);
}
template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void rotate_rows_back(Machine& machine, Registers<Machine, float, per_lane * count>& x,
                                    std::int64_t dim) {
  hadamard_rows<per_lane, count>(machine, x, dim);
  flip_signs<per_lane, count>(machine, x);
}

}  // namespace octavo::cuda
