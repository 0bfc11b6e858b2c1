// What kernels are written over. A Machine runs one warp: Ptx (tile/ptx.hpp) on the device, where each lane executes
// the kernel; Emulated (cuda_emulation/machine.hpp) on the host, where one fiber stands for the 32 lanes. The words of
// both:
//
//   Registers<Machine, T, n>     n registers of every lane
//
//   lanes(f, registers...)       f(lane, T (&)[n]...) for every lane: the only place where lanes differ; plain
//                                variables are the same in all lanes
//
//   warp() warps()               which warp of how many
//   block(axis) blocks(axis)     which block of how many
//
//   shared<T>(offset)            an element of shared memory, counted in bytes; inside lanes()
//   store_shared(offset, x)      likewise
//   sync_warp()                  what a lane has stored in shared memory is there for the warp's others
//
//   ldmatrix<trans>(to, first, offset_of_lane)    four matrices of 8 x 8 16-bit elements into to[first .. first + 3]
//
//   copy16(item_of_lane)         16 bytes of global memory or of zeros into shared memory, asynchronously
//   commit_copies()              those since the last one are a group
//   wait_copies<n>()             all groups of this warp's but the latest n are complete
//
//   sync(name)                   of all warps of the block
//   sync(name, id, warps)        named barriers, id 1 to 15; a name says in a report where a warp waits
//   arrive(name, id, warps)
//
//   mma<kind>(c, c0, a, a0, b, b0)                c[c0 ..] += a[a0 ..] b[b0 ..]; fragments: tile/fragments.hpp
//   first_mma<kind>(c, c0, a, a0, b, b0, start)   the same from c = start
//
//   shuffle_xor(to, from, mask)  to of a lane = from of lane ^ mask
//   any(flags)                   whether flags[0] is not 0 in some lane
//
//   exp2(x) log2(x)              f32, relative error 2^-21
//   reciprocal(x)                f32, relative error 2^-21
//   from_f16(bits)               exactly
//   low_bytes(a, b, c, d)        the four low bytes as one register, a the lowest
//   pack_f16(a, b)               two rounded numbers as one register, a the lower; pack_bf16 likewise
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

// What a warp's object holds: the lane's own registers on the device, those of all lanes in emulation, where what
// nobody has written is no plausible number: 0xfbfbfbfb.
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

// The same value in every lane of each quad, which shares its rows: the largest, or the sum.
template <class Machine, int n>
OCTAVO_DEVICE void max_over_quads(Machine& machine, Registers<Machine, float, n>& x) {
  for (int mask = 1; mask <= 2; mask *= 2) {
    Registers<Machine, float, n> other;
    machine.shuffle_xor(other, x, mask);
    machine.lanes(
        [](int, float(&a)[n], float(&b)[n]) {
          OCTAVO_UNROLL
          for (int i = 0; i < n; ++i) a[i] = a[i] > b[i] ? a[i] : b[i];
        },
        x, other);
  }
}
template <class Machine, int n>
OCTAVO_DEVICE void sum_over_quads(Machine& machine, Registers<Machine, float, n>& x) {
  for (int mask = 1; mask <= 2; mask *= 2) {
    Registers<Machine, float, n> other;
    machine.shuffle_xor(other, x, mask);
    machine.lanes(
        [](int, float(&a)[n], float(&b)[n]) {
          OCTAVO_UNROLL
          for (int i = 0; i < n; ++i) a[i] += b[i];
        },
        x, other);
  }
}

}  // namespace octavo::cuda
