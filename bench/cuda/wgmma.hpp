// Hopper's wgmma in a loop, for measurements: accumulators live inside one block of PTX, so the loop is nothing but
// products. A [64, 128 bytes] from shared memory or registers, B [N, 128 bytes] from shared memory, swizzled by 128
// bytes; four steps over the 128 bytes, four times, then a wait. What lies where does not matter here, only that it is
// no pattern.
#pragma once

#include <cstdint>

namespace octavo::bench {

// How many results a thread holds, and their registers' names.
#define OCTAVO_TEN(a) "d" #a "0,d" #a "1,d" #a "2,d" #a "3,d" #a "4,d" #a "5,d" #a "6,d" #a "7,d" #a "8,d" #a "9"
#define OCTAVO_D64 \
  OCTAVO_TEN()     \
  "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) "," OCTAVO_TEN(4) "," OCTAVO_TEN(5) ",d60,d61,d62,d63"
#define OCTAVO_D112                                                                                         \
  OCTAVO_TEN()                                                                                              \
  "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) "," OCTAVO_TEN(4) "," OCTAVO_TEN(5) "," OCTAVO_TEN( \
      6) "," OCTAVO_TEN(7) "," OCTAVO_TEN(8) "," OCTAVO_TEN(9) "," OCTAVO_TEN(10) ",d110,d111"
#define OCTAVO_D128 \
  OCTAVO_TEN() "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) "," OCTAVO_TEN(4) "," OCTAVO_TEN(5) "," OCTAVO_TEN( \
      6) "," OCTAVO_TEN(7) "," OCTAVO_TEN(8) "," OCTAVO_TEN(9) "," OCTAVO_TEN(10) "," OCTAVO_TEN(11)                     \
      ",d120,d121,d122,d123,d124,d125,d126,d127"

#define OCTAVO_WGMMA_STEP(shape, d, a, offset, tail)        \
  "add.s64 ao, %3, " #offset ";\n add.s64 bo, %2, " #offset \
  ";\n"                                                     \
  "wgmma.mma_async.sync.aligned." shape " {" d "}, " a ", bo, p" tail ";\n"
#define OCTAVO_WGMMA_FOUR(shape, d, a, tail) \
  OCTAVO_WGMMA_STEP(shape, d, a, 0, tail)    \
  OCTAVO_WGMMA_STEP(shape, d, a, 2, tail)    \
  OCTAVO_WGMMA_STEP(shape, d, a, 4, tail) OCTAVO_WGMMA_STEP(shape, d, a, 6, tail)

// type: of a result's register; tail: what follows the predicate (scales, transposes).
#define OCTAVO_WGMMA_LOOP(shape, type, d, a, tail, result, rounds, descriptor_a, descriptor_b, regs) \
  asm volatile(                                                                                                        \
      "{\n.reg ." type " d<128>;\n.reg .pred p, more;\n.reg .b64 ao, bo;\n.reg .b32 left;\n"                           \
      "setp.eq.u32 p, %1, 0;\n mov.b32 left, %1;\n"                                                                    \
      "again:\n"                                                                                                       \
      "wgmma.fence.sync.aligned;\n"                                                                                    \
      OCTAVO_WGMMA_FOUR(shape, d, a, tail) OCTAVO_WGMMA_FOUR(shape, d, a, tail) OCTAVO_WGMMA_FOUR(shape, d, a, tail)   \
      OCTAVO_WGMMA_FOUR(shape, d, a, tail)                                                                             \
      "wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;\n"                                          \
      "setp.ne.u32 p, %1, 0;\n sub.u32 left, left, 1;\n setp.ne.u32 more, left, 0;\n"                                  \
      "@more bra again;\n"                                                                                             \
      "mov.b32 %0, d0;\n}\n"                                                                                           \
      : "=r"(result)                                                                                                   \
      : "r"(rounds), "l"(descriptor_b), "l"(descriptor_a), "r"(regs[0]), "r"(regs[1]), "r"(regs[2]), "r"(regs[3])      \
      : "memory")
#define OCTAVO_A_SHARED "ao"
#define OCTAVO_A_REGISTERS "{%4,%5,%6,%7}"

constexpr int kWgmmaSteps = 16;      // products to a round
constexpr int kWgmmaRowBytes = 128;  // of A and B

// A tile of rows of 128 bytes, K-major, swizzled by 128 bytes; eight rows are 1024 bytes further.
__device__ inline std::uint64_t wgmma_descriptor(std::uint32_t address) {
  return static_cast<std::uint64_t>((address & 0x3ffffu) >> 4) | std::uint64_t{1} << 16 | std::uint64_t{64} << 32 |
         std::uint64_t{1} << 62;
}

}  // namespace octavo::bench
