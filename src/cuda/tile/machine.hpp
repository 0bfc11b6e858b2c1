// The interface that kernels are written over. A Machine runs one warp: Ptx (tile/ptx.hpp) on the device, where each
// lane executes the kernel; Emulated (cuda_emulation/machine.hpp) on the host, where one fiber runs the 32 lanes. The
// primitives of both:
//
//   Registers<Machine, T, n>     n registers of every lane
//
//   lanes(f, registers...)       f(lane, T (&)[n]...) for every lane: the only place where lanes differ; plain
//                                variables are the same in all lanes
//
//   warp() warps()               which warp of how many
//   renew_warp()                 finds warp() again: no register needs to hold it until here
//   block(axis) blocks(axis)     which block of how many
//
//   shared<T>(offset)            an element of shared memory, counted in bytes; inside lanes()
//   store_shared(offset, x)      likewise
//   sync_warp()                  stores to shared memory become visible to the warp's other lanes
//
//   ldmatrix<trans>(to, first, offset_of_lane)    four matrices of 8 x 8 16-bit elements into to[first .. first + 3]
//
//   copy16(item_of_lane)         16 bytes of global memory or of zeros into shared memory, asynchronously
//   commit_copies()              those since the last one are a group
//   wait_copies<n>()             all groups of this warp's but the latest n are complete
//
//   launch_dependents()          the stream's next kernel may begin once all blocks have come here or ended
//   wait_for_earlier_kernels()   until those of the stream have ended; what they stored is visible. See begin_kernel()
//
//   sync(name)                   of all warps of the block
//   sync(name, id, warps)        named barriers, id 1 to 15; reports name the barrier a warp waits at
//   arrive(name, id, warps)
//
//   mma<kind>(c, c0, a, a0, b, b0)                c[c0 ..] += a[a0 ..] b[b0 ..]; fragments: tile/fragments.hpp; sums
//                                                 in f16 are rounded inside, after every few products
//   first_mma<kind>(c, c0, a, a0, b, b0, start)   the same from c = start
//
//   shuffle_xor(to, from, mask)  to of a lane = from of lane ^ mask
//   any(flags)                   whether flags[0] is not 0 in some lane
//
//   exp2(x) log2(x)              f32, relative error 2^-21
//   reciprocal(x)                f32, relative error 2^-21
//   max_nan(a, b)                the larger; NaN if one of them is
//   add_bytes(bytes, to)         to + the sum of the four bytes
//   from_f16(bits)               exactly
//   low_bytes(a, b, c, d)        the four low bytes as one register, a the lowest; second_bytes: those above them
//   pack_f16(a, b)               two rounded numbers as one register, a the lower; pack_bf16 likewise
//   pack_e4m3(a, b, c, d)        four rounded numbers as one register, saturating
#pragma once

#include <cstdint>

#include "cuda/tile/compile.hpp"
#include "cuda/tile/fragments.hpp"

namespace octavo::cuda {

enum class CopyWhat : std::uint8_t { nothing, zeros, bytes };

struct CopyItem {
  std::uint32_t to;  // offset in shared memory, a multiple of 16
  const void* from;  // aligned to 16 bytes
  CopyWhat what;
};

// The registers of the lane on the device, of all lanes in emulation, where unwritten registers hold an implausible
// number, 0xfbfbfbfb.
template <class T, int n, int held>
struct RegisterFile {
  T r[held][n];
  RegisterFile() { __builtin_memset(r, 0xfb, sizeof r); }
};
template <class T, int n>
struct RegisterFile<T, n, 1> {
  T r[1][n];
};
template <class Machine, class T, int n>
using Registers = RegisterFile<T, n, Machine::kHeldLanes>;

template <class Machine, class T, int n>
OCTAVO_DEVICE void clear(Machine& machine, Registers<Machine, T, n>& x) {
  machine.lanes(
      [](int, T(&r)[n]) {
        OCTAVO_UNROLL
        for (int i = 0; i < n; ++i) r[i] = 0;
      },
      x);
}

// Every kernel's first step. It may have been launched while the stream's kernel before it still runs
// (Launch::overlaps): its blocks are there when that one ends. The next kernel waits for this one alone: had this one
// ended without waiting, the next could begin before an earlier one is complete.
template <class Machine>
OCTAVO_DEVICE void begin_kernel(Machine& machine) {
  machine.launch_dependents();
  machine.wait_for_earlier_kernels();
}

// f(row, column, value) for every element of `tiles` accumulator fragments side by side: C [16, 8 tiles].
template <int tiles, class Machine, class T, class F>
OCTAVO_DEVICE void for_each(Machine& machine, Registers<Machine, T, 4 * tiles>& c, F&& f) {
  machine.lanes(
      [&](int lane, T(&values)[4 * tiles]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4 * tiles; ++i) {
          const Place place = place_in_c(lane, i % 4);
          f(place.row, place.column + 8 * (i / 4), values[i]);
        }
      },
      c);
}

// Reduces x over each group of neighbouring lanes (4: a quad, which shares its rows); every lane gets the result.
template <int group, class Machine, class T, int n, class Join>
OCTAVO_DEVICE void reduce_over(Machine& machine, Registers<Machine, T, n>& x, Join&& join) {
  OCTAVO_UNROLL
  for (int mask = 1; mask < group; mask *= 2) {
    Registers<Machine, T, n> other;
    machine.shuffle_xor(other, x, mask);
    machine.lanes(
        [&](int, T(&a)[n], T(&b)[n]) {
          OCTAVO_UNROLL
          for (int i = 0; i < n; ++i) a[i] = join(a[i], b[i]);
        },
        x, other);
  }
}
template <int group, class Machine, int n>
OCTAVO_DEVICE void max_over(Machine& machine, Registers<Machine, float, n>& x) {
  reduce_over<group>(machine, x, [](float a, float b) { return __builtin_fmaxf(a, b); });
}
template <int group, class Machine, int n>
OCTAVO_DEVICE void sum_over(Machine& machine, Registers<Machine, float, n>& x) {
  reduce_over<group>(machine, x, [](float a, float b) { return a + b; });
}

}  // namespace octavo::cuda
