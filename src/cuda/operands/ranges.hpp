// The range of numbers that share a scale (spec/scale.hpp): the largest finite magnitude, and whether any number is not
// finite. In memory it is the bits of a float >= 0, which compare like integers, and a flag (range_arrays.hpp), so
// atomics can join ranges in any order with the same result.
#pragma once

#include "cuda/operands/load.hpp"
#include "cuda/operands/range_arrays.hpp"
#include "spec/scale.hpp"

namespace octavo::cuda {

OCTAVO_DEVICE void grow(std::uint32_t* to, std::uint32_t by) {
#if defined(__CUDA_ARCH__)
  atomicMax(to, by);
#else
  if (by > *to) *to = by;  // emulated warps run one at a time
#endif
}

OCTAVO_DEVICE void count_in(std::uint32_t* to) {
#if defined(__CUDA_ARCH__)
  atomicAdd(to, 1u);
#else
  ++*to;
#endif
}

OCTAVO_DEVICE void grow_range(const RangeArrays& to, std::int64_t at, float amax, std::uint32_t nonfinite) {
  grow(to.amax + at, bits_of_f32(amax));
  if (nonfinite != 0) grow(to.nonfinite + at, 1);
}

template <int count, class Machine>
OCTAVO_DEVICE void join_over_lanes(Machine& machine, Registers<Machine, float, count>& amax,
                                   Registers<Machine, std::uint32_t, count>& nonfinite) {
  max_over<kLanes>(machine, amax);
  reduce_over<kLanes>(machine, nonfinite, [](std::uint32_t a, std::uint32_t b) { return a | b; });
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void clear_ranges(Machine& machine, Registers<Machine, float, per_lane>& amax,
                                Registers<Machine, std::uint32_t, per_lane>& nonfinite) {
  machine.lanes(
      [](int, float(&a)[per_lane], std::uint32_t(&o)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) a[i] = 0, o[i] = 0;
      },
      amax, nonfinite);
}

// Ranges of the lane's channels over those of `count` rows that exist: row i does where bit i of `exists` is set.
template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void grow_channel_ranges(Machine& machine, Registers<Machine, float, per_lane>& amax,
                                       Registers<Machine, std::uint32_t, per_lane>& nonfinite,
                                       Registers<Machine, float, per_lane * count>& x, std::uint32_t exists) {
  machine.lanes(
      [&](int, float(&a)[per_lane], std::uint32_t(&o)[per_lane], float(&v)[per_lane * count]) {
        OCTAVO_UNROLL
        for (int row = 0; row < count; ++row) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            if ((exists >> row & 1) == 0) continue;
            a[i] = spec::grow_amax(a[i], v[row * per_lane + i]);
            if (!is_finite(v[row * per_lane + i])) o[i] = 1;
          }
        }
      },
      amax, nonfinite, x);
}

// Ranges of rows, the same in all lanes.
template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void row_ranges(Machine& machine, Registers<Machine, float, count>& amax,
                              Registers<Machine, std::uint32_t, count>& nonfinite,
                              Registers<Machine, float, per_lane * count>& x) {
  machine.lanes(
      [&](int, float(&a)[count], std::uint32_t(&o)[count], float(&v)[per_lane * count]) {
        OCTAVO_UNROLL
        for (int r = 0; r < count; ++r) {
          a[r] = 0;
          o[r] = 0;
          OCTAVO_UNROLL
          for (int s = 0; s < per_lane; ++s) {
            a[r] = spec::grow_amax(a[r], v[r * per_lane + s]);
            if (!is_finite(v[r * per_lane + s])) o[r] = 1;
          }
        }
      },
      amax, nonfinite, x);
  join_over_lanes<count>(machine, amax, nonfinite);
}

// `per_lane` ranges of every lane as one, the same in all lanes.
template <int per_lane, class Machine>
OCTAVO_DEVICE void join_lanes(Machine& machine, Registers<Machine, float, 1>& amax,
                              Registers<Machine, std::uint32_t, 1>& nonfinite,
                              Registers<Machine, float, per_lane>& of_lane,
                              Registers<Machine, std::uint32_t, per_lane>& nonfinite_per_lane) {
  machine.lanes(
      [](int, float(&a)[1], std::uint32_t(&o)[1], float(&b)[per_lane], std::uint32_t(&p)[per_lane]) {
        a[0] = 0;
        o[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          a[0] = b[i] > a[0] ? b[i] : a[0];
          o[0] |= p[i];
        }
      },
      amax, nonfinite, of_lane, nonfinite_per_lane);
  join_over_lanes<1>(machine, amax, nonfinite);
}

// The scale of a range, NaN where it holds a non-finite number; the inverse is always finite.
OCTAVO_DEVICE spec::Scale scale_of_range(float amax, std::uint32_t nonfinite, float range, bool zero_scale_of_zero) {
  spec::Scale scale = spec::scale_of(amax, range, zero_scale_of_zero ? 0.0f : 1.0f);
  if (nonfinite != 0) scale.scale = f32_of_bits(0x7fc00000u);
  return scale;
}

}  // namespace octavo::cuda
