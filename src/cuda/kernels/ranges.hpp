// The range of numbers that share a scale, as the quantizer law counts it: the largest finite magnitude, and whether
// something beside it is not finite. In memory a range is two words: the bits of a float >= 0, which order as integers
// do, and a flag (range_arrays.hpp); so ranges can be joined in any order, by atomics too, and never differ.
#pragma once

#include "cuda/kernels/range_arrays.hpp"
#include "cuda/kernels/rows.hpp"
#include "spec/scale.hpp"

namespace octavo::cuda {

OCTAVO_DEVICE void grow(std::uint32_t* to, std::uint32_t by) {
#if defined(__CUDA_ARCH__)
  atomicMax(to, by);
#else
  if (by > *to) *to = by;  // one warp after the other
#endif
}

OCTAVO_DEVICE void grow_range(const RangeArrays& to, std::int64_t at, float amax, std::uint32_t odd) {
  grow(to.amax + at, bits_of_f32(amax));
  if (odd != 0) grow(to.odd + at, 1);
}

template <int count, class Machine>
OCTAVO_DEVICE void join_over_lanes(Machine& machine, Registers<Machine, float, count>& amax,
                                   Registers<Machine, std::uint32_t, count>& odd) {
  OCTAVO_UNROLL
  for (int mask = 1; mask < kLanes; mask *= 2) {
    Registers<Machine, float, count> other;
    Registers<Machine, std::uint32_t, count> other_odd;
    machine.shuffle_xor(other, amax, mask);
    machine.shuffle_xor(other_odd, odd, mask);
    machine.lanes(
        [](int, float(&a)[count], float(&b)[count], std::uint32_t(&o)[count], std::uint32_t(&p)[count]) {
          OCTAVO_UNROLL
          for (int r = 0; r < count; ++r) {
            a[r] = b[r] > a[r] ? b[r] : a[r];
            o[r] |= p[r];
          }
        },
        amax, other, odd, other_odd);
  }
}

template <int slots, class Machine>
OCTAVO_DEVICE void clear_ranges(Machine& machine, Registers<Machine, float, slots>& amax,
                                Registers<Machine, std::uint32_t, slots>& odd) {
  machine.lanes(
      [](int, float(&a)[slots], std::uint32_t(&o)[slots]) {
        OCTAVO_UNROLL
        for (int i = 0; i < slots; ++i) a[i] = 0, o[i] = 0;
      },
      amax, odd);
}

// Of the channels a lane holds, over the first `valid` of `count` rows.
template <int slots, int count, class Machine>
OCTAVO_DEVICE void grow_channel_ranges(Machine& machine, Registers<Machine, float, slots>& amax,
                                       Registers<Machine, std::uint32_t, slots>& odd,
                                       Registers<Machine, float, slots * count>& x, std::int64_t valid) {
  machine.lanes(
      [&](int, float(&a)[slots], std::uint32_t(&o)[slots], float(&v)[slots * count]) {
        OCTAVO_UNROLL
        for (int row = 0; row < count; ++row) {
          OCTAVO_UNROLL
          for (int i = 0; i < slots; ++i) {
            if (row >= valid) continue;
            a[i] = spec::grow_amax(a[i], v[row * slots + i]);
            if (!is_finite(v[row * slots + i])) o[i] = 1;
          }
        }
      },
      amax, odd, x);
}

// Of every row, the same in all lanes.
template <int slots, int count, class Machine>
OCTAVO_DEVICE void row_ranges(Machine& machine, Registers<Machine, float, count>& amax,
                              Registers<Machine, std::uint32_t, count>& odd,
                              Registers<Machine, float, slots * count>& x) {
  machine.lanes(
      [&](int, float(&a)[count], std::uint32_t(&o)[count], float(&v)[slots * count]) {
        OCTAVO_UNROLL
        for (int r = 0; r < count; ++r) {
          a[r] = 0;
          o[r] = 0;
          OCTAVO_UNROLL
          for (int s = 0; s < slots; ++s) {
            a[r] = spec::grow_amax(a[r], v[r * slots + s]);
            if (!is_finite(v[r * slots + s])) o[r] = 1;
          }
        }
      },
      amax, odd, x);
  join_over_lanes<count>(machine, amax, odd);
}

// `slots` ranges of every lane as one, the same in all lanes.
template <int slots, class Machine>
OCTAVO_DEVICE void join_lanes(Machine& machine, Registers<Machine, float, 1>& amax,
                              Registers<Machine, std::uint32_t, 1>& odd, Registers<Machine, float, slots>& of_slots,
                              Registers<Machine, std::uint32_t, slots>& odd_slots) {
  machine.lanes(
      [](int, float(&a)[1], std::uint32_t(&o)[1], float(&b)[slots], std::uint32_t(&p)[slots]) {
        a[0] = 0;
        o[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < slots; ++i) {
          a[0] = b[i] > a[0] ? b[i] : a[0];
          o[0] |= p[i];
        }
      },
      amax, odd, of_slots, odd_slots);
  join_over_lanes<1>(machine, amax, odd);
}

// The scale of a range, NaN where something in it is not finite; the inverse is always a number.
OCTAVO_DEVICE spec::Scale scale_of_range(float amax, std::uint32_t odd, float range, bool zero_scale_of_zero) {
  spec::Scale scale = spec::scale_of(amax, range, zero_scale_of_zero ? 0.0f : 1.0f);
  if (odd != 0) scale.scale = f32_of_bits(0x7fc00000u);
  return scale;
}

}  // namespace octavo::cuda
