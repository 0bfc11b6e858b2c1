// wgmma.mma_async as inline PTX: one statement for each width and kind, since an asm statement spells out its operands.
// Sums are the first n / 2 operands (in f16 n / 4), read and written; the four registers or the descriptor of A, the
// descriptor of B, `add` and `transposed` follow. Floats have factors 1 and -1 for A and B, here 1. 16-bit operands in
// shared memory may be transposed: here B alone, where A is in registers.
#pragma once

#if !defined(__CUDACC__)
#error "tile/wgmma_ptx.hpp is for nvcc"
#endif

#include <cstdint>

#include "cuda/tile/machine_sm90.hpp"

namespace octavo::cuda::ptx {

#define OCTAVO_NAMES_4 "%0, %1, %2, %3"
#define OCTAVO_NAMES_8 OCTAVO_NAMES_4 ", %4, %5, %6, %7"
#define OCTAVO_NAMES_16 OCTAVO_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define OCTAVO_NAMES_32 \
  OCTAVO_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define OCTAVO_NAMES_48 \
  OCTAVO_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define OCTAVO_NAMES_64 \
  OCTAVO_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define OCTAVO_NAMES_96                                                              \
  OCTAVO_NAMES_64                                                                    \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define OCTAVO_NAMES_128                                                                         \
  OCTAVO_NAMES_96                                                                                \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define OCTAVO_SUMS_4(number, i) \
  "+" number(d[i]), "+" number(d[(i) + 1]), "+" number(d[(i) + 2]), "+" number(d[(i) + 3])
#define OCTAVO_SUMS_8(number, i) OCTAVO_SUMS_4(number, i), OCTAVO_SUMS_4(number, (i) + 4)
#define OCTAVO_SUMS_16(number, i) OCTAVO_SUMS_8(number, i), OCTAVO_SUMS_8(number, (i) + 8)
#define OCTAVO_SUMS_32(number, i) OCTAVO_SUMS_16(number, i), OCTAVO_SUMS_16(number, (i) + 16)
#define OCTAVO_SUMS_48(number, i) OCTAVO_SUMS_32(number, i), OCTAVO_SUMS_16(number, (i) + 32)
#define OCTAVO_SUMS_64(number, i) OCTAVO_SUMS_32(number, i), OCTAVO_SUMS_32(number, (i) + 32)
#define OCTAVO_SUMS_96(number, i) OCTAVO_SUMS_64(number, i), OCTAVO_SUMS_32(number, (i) + 64)
#define OCTAVO_SUMS_128(number, i) OCTAVO_SUMS_64(number, i), OCTAVO_SUMS_64(number, (i) + 64)

// `add` becomes the predicate that keeps the sums.
#define OCTAVO_WGMMA(n, sums, number, types, a_and_b, add_name, tail, ...)                                  \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, " add_name ", 0; wgmma.mma_async.sync.aligned.m64n" #n types \
               " {" OCTAVO_NAMES_##sums "}, " a_and_b ", p" tail "; }"                                      \
               : OCTAVO_SUMS_##sums(number, 0)                                                              \
               : __VA_ARGS__, "l"(b), "r"(static_cast<int>(add)), "n"(static_cast<int>(transposed))         \
               : "memory")
#define OCTAVO_WGMMA_KINDS(n, sums, a_and_b, add_name, tail16, ...)                                                 \
  if constexpr (kind == Mma::s8s8) OCTAVO_WGMMA(n, sums, "r", "k32.s32.s8.s8", a_and_b, add_name, "", __VA_ARGS__); \
  if constexpr (kind == Mma::u8s8) OCTAVO_WGMMA(n, sums, "r", "k32.s32.u8.s8", a_and_b, add_name, "", __VA_ARGS__); \
  if constexpr (kind == Mma::u8u8) OCTAVO_WGMMA(n, sums, "r", "k32.s32.u8.u8", a_and_b, add_name, "", __VA_ARGS__); \
  if constexpr (kind == Mma::f16)                                                                                   \
    OCTAVO_WGMMA(n, sums, "f", "k16.f32.f16.f16", a_and_b, add_name, tail16, __VA_ARGS__);                          \
  if constexpr (kind == Mma::bf16)                                                                                  \
    OCTAVO_WGMMA(n, sums, "f", "k16.f32.bf16.bf16", a_and_b, add_name, tail16, __VA_ARGS__);                        \
  if constexpr (kind == Mma::e4m3)                                                                                  \
    OCTAVO_WGMMA(n, sums, "f", "k32.f32.e4m3.e4m3", a_and_b, add_name, ", 1, 1", __VA_ARGS__);                      \
  if constexpr (kind == Mma::e5m2)                                                                                  \
  OCTAVO_WGMMA(n, sums, "f", "k32.f32.e5m2.e5m2", a_and_b, add_name, ", 1, 1", __VA_ARGS__)

template <Mma kind, int n>
OCTAVO_DEVICE void wgmma(MmaSum<kind> (&d)[n / 2], std::uint64_t a, std::uint64_t b, bool add) {
  constexpr bool transposed = false;
  if constexpr (n == 8) {
    OCTAVO_WGMMA_KINDS(8, 4, "%4, %5", "%6", ", 1, 1, 0, 0", "l"(a));
  }
  if constexpr (n == 16) {
    OCTAVO_WGMMA_KINDS(16, 8, "%8, %9", "%10", ", 1, 1, 0, 0", "l"(a));
  }
  if constexpr (n == 32) {
    OCTAVO_WGMMA_KINDS(32, 16, "%16, %17", "%18", ", 1, 1, 0, 0", "l"(a));
  }
  if constexpr (n == 64) {
    OCTAVO_WGMMA_KINDS(64, 32, "%32, %33", "%34", ", 1, 1, 0, 0", "l"(a));
  }
  if constexpr (n == 96) {
    OCTAVO_WGMMA_KINDS(96, 48, "%48, %49", "%50", ", 1, 1, 0, 0", "l"(a));
  }
  if constexpr (n == 128) {
    OCTAVO_WGMMA_KINDS(128, 64, "%64, %65", "%66", ", 1, 1, 0, 0", "l"(a));
  }
  if constexpr (n == 192) {
    OCTAVO_WGMMA_KINDS(192, 96, "%96, %97", "%98", ", 1, 1, 0, 0", "l"(a));
  }
  if constexpr (n == 256) {
    OCTAVO_WGMMA_KINDS(256, 128, "%128, %129", "%130", ", 1, 1, 0, 0", "l"(a));
  }
}
template <Mma kind, int n, bool transposed>
OCTAVO_DEVICE void wgmma(MmaSum<kind> (&d)[kWgmmaSums<kind, n>], const std::uint32_t* a, std::uint64_t b, bool add) {
#define OCTAVO_A "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])
  if constexpr (sums_in_f16(kind)) {
    // Two sums a register.
    if constexpr (n == 64) {
      OCTAVO_WGMMA(64, 16, "r", "k32.f16.e4m3.e4m3", "{%16, %17, %18, %19}, %20", "%21", ", 1, 1", OCTAVO_A);
    } else {
      OCTAVO_WGMMA(128, 32, "r", "k32.f16.e4m3.e4m3", "{%32, %33, %34, %35}, %36", "%37", ", 1, 1", OCTAVO_A);
    }
    return;
  }
  if constexpr (n == 8) {
    OCTAVO_WGMMA_KINDS(8, 4, "{%4, %5, %6, %7}, %8", "%9", ", 1, 1, %10", OCTAVO_A);
  }
  if constexpr (n == 16) {
    OCTAVO_WGMMA_KINDS(16, 8, "{%8, %9, %10, %11}, %12", "%13", ", 1, 1, %14", OCTAVO_A);
  }
  if constexpr (n == 32) {
    OCTAVO_WGMMA_KINDS(32, 16, "{%16, %17, %18, %19}, %20", "%21", ", 1, 1, %22", OCTAVO_A);
  }
  if constexpr (n == 64) {
    OCTAVO_WGMMA_KINDS(64, 32, "{%32, %33, %34, %35}, %36", "%37", ", 1, 1, %38", OCTAVO_A);
  }
  if constexpr (n == 96) {
    OCTAVO_WGMMA_KINDS(96, 48, "{%48, %49, %50, %51}, %52", "%53", ", 1, 1, %54", OCTAVO_A);
  }
  if constexpr (n == 128) {
    OCTAVO_WGMMA_KINDS(128, 64, "{%64, %65, %66, %67}, %68", "%69", ", 1, 1, %70", OCTAVO_A);
  }
  if constexpr (n == 192) {
    OCTAVO_WGMMA_KINDS(192, 96, "{%96, %97, %98, %99}, %100", "%101", ", 1, 1, %102", OCTAVO_A);
  }
  if constexpr (n == 256) {
    OCTAVO_WGMMA_KINDS(256, 128, "{%128, %129, %130, %131}, %132", "%133", ", 1, 1, %134", OCTAVO_A);
  }
#undef OCTAVO_A
}

#undef OCTAVO_WGMMA_KINDS
#undef OCTAVO_WGMMA
#undef OCTAVO_NAMES_4
#undef OCTAVO_NAMES_8
#undef OCTAVO_NAMES_16
#undef OCTAVO_NAMES_32
#undef OCTAVO_NAMES_48
#undef OCTAVO_NAMES_64
#undef OCTAVO_NAMES_96
#undef OCTAVO_NAMES_128
#undef OCTAVO_SUMS_4
#undef OCTAVO_SUMS_8
#undef OCTAVO_SUMS_16
#undef OCTAVO_SUMS_32
#undef OCTAVO_SUMS_48
#undef OCTAVO_SUMS_64
#undef OCTAVO_SUMS_96
#undef OCTAVO_SUMS_128

}  // namespace octavo::cuda::ptx
