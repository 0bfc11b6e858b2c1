// The primitives of tile/machine_sm90.hpp on the device (compute capability 9.0a): one PTX instruction each, or a few.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/tile/machine_sm90.hpp"
#include "cuda/tile/ptx.hpp"
#include "cuda/tile/wgmma_ptx.hpp"

namespace octavo::cuda {

class PtxSm90 : public Ptx {
 public:
  // A kernel's __grid_constant__ parameter, or a part of one.
  using TensorMap = CUtensorMap;

  OCTAVO_DEVICE void init_mbarrier(std::uint32_t offset, std::uint32_t count) {
    if (lane() == 0) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(offset)), "r"(count) : "memory");
    }
  }
  OCTAVO_DEVICE void arrive_mbarrier(std::uint32_t offset) {
    __syncwarp();
    if (lane() == 0) {
      asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(offset)) : "memory");
    }
  }
  OCTAVO_DEVICE void arrive_mbarrier(std::uint32_t offset, std::uint32_t bytes) {
    __syncwarp();
    if (lane() == 0) {
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(offset)), "r"(bytes)
                   : "memory");
    }
  }
  // Every lane asks, so that what the phase brought is every lane's to see. try_wait sleeps for a while by itself.
  OCTAVO_DEVICE void wait_mbarrier(const char*, std::uint32_t offset, std::uint32_t parity) {
    std::uint32_t complete = 0;
    while (complete == 0) {
      asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                   : "=r"(complete)
                   : "r"(address(offset)), "r"(parity)
                   : "memory");
    }
  }

  OCTAVO_DEVICE void copy_box(const TensorMap& map, std::uint32_t to, std::uint32_t mbarrier, std::int32_t x,
                              std::int32_t y) {
    __syncwarp();
    if (lane() == 0) {
      asm volatile(
          "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
          :
          : "r"(address(to)), "l"(&map), "r"(x), "r"(y), "r"(address(mbarrier))
          : "memory");
    }
  }
  OCTAVO_DEVICE void copy_box(const TensorMap& map, std::uint32_t to, std::uint32_t mbarrier, std::int32_t x,
                              std::int32_t y, std::int32_t z) {
    __syncwarp();
    if (lane() == 0) {
      asm volatile(
          "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
          "[%0], [%1, {%2, %3, %4}], [%5];"
          :
          : "r"(address(to)), "l"(&map), "r"(x), "r"(y), "r"(z), "r"(address(mbarrier))
          : "memory");
    }
  }

  OCTAVO_DEVICE void copy_bytes(const void* from, std::uint32_t to, std::uint32_t mbarrier, std::uint32_t bytes) {
    __syncwarp();
    if (lane() == 0) {
      asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                   :
                   : "r"(address(to)), "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(address(mbarrier))
                   : "memory");
    }
  }

  OCTAVO_DEVICE void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

  OCTAVO_DEVICE std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle, std::uint32_t stride,
                                     std::uint32_t leading) const {
    return encode({address(offset), leading, stride, swizzle});
  }
  OCTAVO_DEVICE std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle, std::uint32_t stride) const {
    if (swizzle == Swizzle::none) __trap();
    return matrix(offset, swizzle, stride, kUnreadLeading);
  }
  OCTAVO_DEVICE std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle) const {
    return matrix(offset, swizzle, atom_bytes(swizzle));
  }

  template <class... R>
  OCTAVO_DEVICE void wgmma_fence(R&... registers) {
    (keep(registers), ...);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  }
  template <Mma kind, int n>
  OCTAVO_DEVICE void wgmma(Registers<MmaSum<kind>, n / 2>& c, std::uint64_t a, std::uint64_t b, bool add) {
    static_assert(is_wgmma_kind(kind) && is_wgmma_width(n));
    ptx::wgmma<kind, n>(c.r[0], a, b, add);
  }
  template <Mma kind, int n, bool transposed = false, int na>
  OCTAVO_DEVICE void wgmma(Registers<MmaSum<kind>, kWgmmaSums<kind, n>>& c, const Registers<std::uint32_t, na>& a,
                           int a0, std::uint64_t b, bool add) {
    static_assert((is_wgmma_kind(kind) && is_wgmma_width(n)) || is_wgmma_to_f16(kind, n));
    static_assert(!transposed || elements_of_register(kind) == 2);
    ptx::wgmma<kind, n, transposed>(c.r[0], a.r[0] + a0, b, add);
  }
  OCTAVO_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
  template <int left, class... R>
  OCTAVO_DEVICE void wgmma_wait(R&... registers) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
    (keep(registers), ...);
  }

  OCTAVO_DEVICE std::uint32_t count_up(std::uint32_t* number) {
    std::uint32_t before = 0;
    if (lane() == 0) before = atomicAdd(number, 1u);
    return __shfl_sync(0xffffffffu, before, 0);
  }

  template <int n>
  OCTAVO_DEVICE void drop(Registers<std::int32_t, n>& registers) {
    OCTAVO_UNROLL
    for (int i = 0; i < n; ++i) asm volatile("" : "=r"(registers.r[0][i]));
  }

  template <int n>
  OCTAVO_DEVICE void more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
  }
  template <int n>
  OCTAVO_DEVICE void fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
  }

 private:
  // The compiler moves nothing that touches them across this place.
  template <int n>
  OCTAVO_DEVICE static void keep(Registers<float, n>& registers) {
    OCTAVO_UNROLL
    for (int i = 0; i < n; ++i) asm volatile("" : "+f"(registers.r[0][i])::"memory");
  }
  template <class T, int n>
  OCTAVO_DEVICE static void keep(Registers<T, n>& registers) {
    OCTAVO_UNROLL
    for (int i = 0; i < n; ++i) asm volatile("" : "+r"(registers.r[0][i])::"memory");
  }
};

}  // namespace octavo::cuda
