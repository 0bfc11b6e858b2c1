// The primitives of tile/machine.hpp on the device: each is one PTX instruction or a handful.
#pragma once

#if !defined(__CUDACC__)
#error "tile/ptx.hpp is for nvcc; other compilers have cuda_emulation/machine.hpp"
#endif

#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

class Ptx {
 public:
  static constexpr int kHeldLanes = 1;
  template <class T, int n>
  using Registers = RegisterFile<T, n, 1>;

  OCTAVO_DEVICE Ptx() : shared_(static_cast<std::uint32_t>(__cvta_generic_to_shared(memory()))), warp_(find_warp()) {}

  template <class F, class... R>
  OCTAVO_DEVICE void lanes(F&& f, R&... registers) {
    f(lane(), registers.r[0]...);
  }

  OCTAVO_DEVICE int lane() const { return static_cast<int>(threadIdx.x % 32); }
  OCTAVO_DEVICE int warp() const { return warp_; }
  OCTAVO_DEVICE void renew_warp() { warp_ = find_warp(); }
  OCTAVO_DEVICE int warps() const { return static_cast<int>(blockDim.x / 32); }
  // Read anew each time, like the warp: find_task() is called twice.
  OCTAVO_DEVICE std::int64_t block(int axis) const {
    std::uint32_t at;
    if (axis == 0) asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(at));
    if (axis == 1) asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(at));
    if (axis == 2) asm volatile("mov.u32 %0, %%ctaid.z;" : "=r"(at));
    return at;
  }
  OCTAVO_DEVICE std::int64_t blocks(int axis) const {
    return axis == 0 ? gridDim.x : axis == 1 ? gridDim.y : gridDim.z;
  }

  template <class T>
  OCTAVO_DEVICE T shared(std::uint32_t offset) const {
    return *reinterpret_cast<const T*>(memory() + offset);
  }
  template <class T>
  OCTAVO_DEVICE void store_shared(std::uint32_t offset, T x) {
    *reinterpret_cast<T*>(memory() + offset) = x;
  }

  template <bool trans, int n, class F>
  OCTAVO_DEVICE void ldmatrix(Registers<std::uint32_t, n>& to, int first, F&& offset_of_lane) {
    const std::uint32_t address = shared_ + offset_of_lane(lane());
    std::uint32_t* r = to.r[0] + first;
    if constexpr (trans) {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                   : "r"(address)
                   : "memory");
    } else {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                   : "r"(address)
                   : "memory");
    }
  }

  template <class F>
  OCTAVO_DEVICE void copy16(F&& item_of_lane) {
    const CopyItem item = item_of_lane(lane());
    if (item.what == CopyWhat::nothing) return;
    const std::uint32_t bytes = item.what == CopyWhat::bytes ? 16 : 0;  // the rest is filled with zeros
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_ + item.to), "l"(__cvta_generic_to_global(item.from)), "r"(bytes)
                 : "memory");
  }
  OCTAVO_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int n>
  OCTAVO_DEVICE void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
  }

  // PTX of 9.0 and later has both. The runtime overlaps no kernel that was compiled from earlier PTX.
  OCTAVO_DEVICE void launch_dependents() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
  }
  OCTAVO_DEVICE void wait_for_earlier_kernels() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  }

  OCTAVO_DEVICE void sync_warp() { __syncwarp(); }
  OCTAVO_DEVICE void sync(const char*) { __syncthreads(); }
  OCTAVO_DEVICE void sync(const char*, int id, int warps) {
    asm volatile("barrier.cta.sync.aligned %0, %1;" ::"r"(id), "r"(32 * warps) : "memory");
  }
  OCTAVO_DEVICE void arrive(const char*, int id, int warps) {
    asm volatile("barrier.cta.arrive.aligned %0, %1;" ::"r"(id), "r"(32 * warps) : "memory");
  }

  template <Mma kind, int nc, int na, int nb>
  OCTAVO_DEVICE void mma(Registers<MmaSum<kind>, nc>& c, int c0, const Registers<std::uint32_t, na>& a, int a0,
                         const Registers<std::uint32_t, nb>& b, int b0) {
    MmaSum<kind>* sum = c.r[0] + c0;
    if constexpr (sums_in_f16(kind)) {
      multiply_to_f16<kind>(sum, a.r[0] + a0, b.r[0] + b0, sum[0], sum[1]);
    } else {
      multiply<kind>(sum, a.r[0] + a0, b.r[0] + b0, sum[0], sum[1], sum[2], sum[3]);
    }
  }
  template <Mma kind, int nc, int na, int nb>
  OCTAVO_DEVICE void first_mma(Registers<MmaSum<kind>, nc>& c, int c0, const Registers<std::uint32_t, na>& a, int a0,
                               const Registers<std::uint32_t, nb>& b, int b0, MmaSum<kind> start) {
    if constexpr (sums_in_f16(kind)) {
      multiply_to_f16<kind>(c.r[0] + c0, a.r[0] + a0, b.r[0] + b0, start, start);
    } else {
      multiply<kind>(c.r[0] + c0, a.r[0] + a0, b.r[0] + b0, start, start, start, start);
    }
  }

  template <class T, int n>
  OCTAVO_DEVICE void shuffle_xor(Registers<T, n>& to, const Registers<T, n>& from, int mask) {
    OCTAVO_UNROLL
    for (int i = 0; i < n; ++i) to.r[0][i] = __shfl_xor_sync(kAll, from.r[0][i], mask);
  }
  OCTAVO_DEVICE bool any(const Registers<std::uint32_t, 1>& flags) { return __any_sync(kAll, flags.r[0][0] != 0); }

  OCTAVO_DEVICE static float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  OCTAVO_DEVICE static float log2(float x) { return ::log2f(x); }
  OCTAVO_DEVICE static float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  OCTAVO_DEVICE static float max_nan(float a, float b) {
    float y;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
  }
  OCTAVO_DEVICE static std::uint32_t add_bytes(std::uint32_t bytes, std::uint32_t to) {
    return __dp4a(bytes, 0x01010101u, to);
  }
  OCTAVO_DEVICE static float from_f16(std::uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
  OCTAVO_DEVICE static std::uint32_t low_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
  }
  OCTAVO_DEVICE static std::uint32_t second_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return __byte_perm(__byte_perm(a, b, 0x0051), __byte_perm(c, d, 0x0051), 0x5410);
  }
  OCTAVO_DEVICE static std::uint32_t pack_f16(float a, float b) {
    std::uint32_t y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(b), "f"(a));
    return y;
  }
  // From compute capability 8.9 on.
  OCTAVO_DEVICE static std::uint32_t pack_e4m3(float a, float b, float c, float d) {
    std::uint16_t low, high;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
    return low | static_cast<std::uint32_t>(high) << 16;
  }
  OCTAVO_DEVICE static std::uint32_t pack_bf16(float a, float b) {
    std::uint32_t y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(b), "f"(a));
    return y;
  }

 protected:
  OCTAVO_DEVICE std::uint32_t address(std::uint32_t offset) const { return shared_ + offset; }

 private:
  // Volatile, so that no register holds the thread's number from one call to the next.
  OCTAVO_DEVICE static int find_warp() {
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return __shfl_sync(kAll, thread / 32, 0);
  }
  template <Mma kind>
  OCTAVO_DEVICE static void multiply(MmaSum<kind>* d, const std::uint32_t* a, const std::uint32_t* b, MmaSum<kind> c0,
                                     MmaSum<kind> c1, MmaSum<kind> c2, MmaSum<kind> c3) {
#define OCTAVO_MMA(shape_and_types, number)                                                                      \
  asm("mma.sync.aligned." shape_and_types " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};" \
      : "=" number(d[0]), "=" number(d[1]), "=" number(d[2]), "=" number(d[3])                                   \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), number(c0), number(c1), number(c2),    \
        number(c3))
    if constexpr (kind == Mma::s8s8) OCTAVO_MMA("m16n8k32.row.col.s32.s8.s8.s32", "r");
    if constexpr (kind == Mma::u8s8) OCTAVO_MMA("m16n8k32.row.col.s32.u8.s8.s32", "r");
    if constexpr (kind == Mma::u8u8) OCTAVO_MMA("m16n8k32.row.col.s32.u8.u8.s32", "r");
    if constexpr (kind == Mma::s4s4) OCTAVO_MMA("m16n8k64.row.col.s32.s4.s4.s32", "r");
    if constexpr (kind == Mma::f16) OCTAVO_MMA("m16n8k16.row.col.f32.f16.f16.f32", "f");
    if constexpr (kind == Mma::bf16) OCTAVO_MMA("m16n8k16.row.col.f32.bf16.bf16.f32", "f");
    if constexpr (kind == Mma::e4m3) OCTAVO_MMA("m16n8k32.row.col.f32.e4m3.e4m3.f32", "f");
    if constexpr (kind == Mma::e5m2) OCTAVO_MMA("m16n8k32.row.col.f32.e5m2.e5m2.f32", "f");
#undef OCTAVO_MMA
  }
  template <Mma kind>
  OCTAVO_DEVICE static void multiply_to_f16(std::uint32_t* d, const std::uint32_t* a, const std::uint32_t* b,
                                            std::uint32_t c0, std::uint32_t c1) {
#define OCTAVO_MMA(shape_and_types)                                                          \
  asm("mma.sync.aligned." shape_and_types " {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%8, %9};" \
      : "=r"(d[0]), "=r"(d[1])                                                               \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c0), "r"(c1))
    if constexpr (kind == Mma::f16_to_f16) OCTAVO_MMA("m16n8k16.row.col.f16.f16.f16.f16");
    if constexpr (kind == Mma::e4m3_to_f16) OCTAVO_MMA("m16n8k32.row.col.f16.e4m3.e4m3.f16");
#undef OCTAVO_MMA
  }

  static constexpr unsigned kAll = 0xffffffffu;
  // A name of its own, not an address in a register: so the compiler knows that loads from it are of shared memory.
  OCTAVO_DEVICE static unsigned char* memory() {
    extern __shared__ __align__(1024) unsigned char octavo_shared_memory[];
    return octavo_shared_memory;
  }
  std::uint32_t shared_;
  int warp_;  // by a shuffle, so that the compiler knows it to be the same in all lanes
};

}  // namespace octavo::cuda
