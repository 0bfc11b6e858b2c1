// The primitives of Hopper (compute capability 9.0a), beside those of tile/machine.hpp: PtxSm90 (tile/ptx_sm90.hpp) and
// EmulatedSm90 (cuda_emulation/machine_sm90.hpp). Offsets are bytes of shared memory. Where the instruction is one
// thread's, the warp's first lane executes it after all lanes have arrived.
//
//   mbarriers, 8 bytes each: a phase is complete when `count` arrivals and all announced bytes have come
//
//   init_mbarrier(offset, count)                 one thread of the block; fence_async() and a barrier follow
//   arrive_mbarrier(offset)                      one arrival for the warp: what it did before is done
//   arrive_mbarrier(offset, bytes)               the same, and so many bytes are announced for this phase
//   wait_mbarrier(name, offset, parity)          until the phase of that parity is complete; the first has parity
//                                                0, and before it one of parity 1 counts as complete
//
//   copy_box(map, to, mbarrier, x, y[, z])       the box at element (x, y[, z]) of a tensor in global memory,
//                                                asynchronously; its bytes count at the mbarrier and were announced
//                                                there before. `to` is a multiple of 128, and of a swizzle's atom.
//                                                Machine::TensorMap is made of a TensorBox (tile/tensor_box.hpp)
//
//   copy_bytes(from, to, mbarrier, bytes)        `bytes` of global memory, likewise; all three are multiples of 16
//
//   fence_async()                                this warp's stores to shared memory become visible to the copy
//                                                engine and the tensor cores of warps that pass a barrier after it
//
//   products of a warpgroup: four warps, the first a multiple of four, in step; each has 16 rows
//
//   matrix(offset, swizzle[, stride, leading])   the descriptor of an operand, tile/matrix_descriptor.hpp; all four
//                                                where nothing is swizzled
//                                                advance(matrix, bytes) is the same one further on
//   wgmma_fence(registers...)                    before products touch registers that something else has touched
//   wgmma<kind, n>(c, a, b, add)                 c [64, n] = (add ? c : 0) + a bᵀ, a [64, 32 bytes], b [n, 32 bytes]
//   wgmma<kind, n>(c, a, a0, b, add)             a in registers a0 .. a0 + 3; fragments: tile/wgmma_fragments.hpp
//   wgmma<kind, n, true>(c, a, a0, b, add)       the same of 16-bit kinds with b transposed, [16, n]
//                                                kind e4m3_to_f16: a in registers, n 64 or 128, two sums a register
//   wgmma_commit()                               those since the last one are a group
//   wgmma_wait<left>(registers...)               all groups but the latest `left` are complete, and with them the
//                                                products into these registers, which may be touched again
//
//   count_up(number)                             adds 1 to a u32 in global memory, atomically; what it was before
//   drop(registers)                              their values are not needed: until a product sets them, other numbers
//                                                may take their place
//
//   more_registers<n>() fewer_registers<n>()     n registers for each thread of the warpgroup from here on
//
// The fence and the wait name registers because compilers treat a product as complete where it is written.
#pragma once

#include "cuda/tile/machine.hpp"
#include "cuda/tile/matrix_descriptor.hpp"
#include "cuda/tile/swizzle.hpp"
#include "cuda/tile/tensor_box.hpp"
#include "cuda/tile/wgmma_fragments.hpp"

namespace octavo::cuda {

constexpr std::uint32_t kMbarrierBytes = 8;

// Widths that both machines have. There are more: of floats every multiple of 8 up to 256, of integers 24 and every
// multiple of 16.
OCTAVO_INLINE constexpr bool is_wgmma_width(int n) {
  return n == 8 || n == 16 || n == 32 || n == 64 || n == 96 || n == 128 || n == 192 || n == 256;
}
OCTAVO_INLINE constexpr bool is_wgmma_kind(Mma kind) { return kind != Mma::s4s4 && !sums_in_f16(kind); }
OCTAVO_INLINE constexpr bool is_wgmma_to_f16(Mma kind, int n) {
  return kind == Mma::e4m3_to_f16 && (n == 64 || n == 128);
}
// Registers of C.
template <Mma kind, int n>
constexpr int kWgmmaSums = sums_in_f16(kind) ? n / 4 : n / 2;

}  // namespace octavo::cuda
