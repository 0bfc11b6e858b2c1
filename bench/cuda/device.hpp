// What the measuring kernels share: clocks and numbers without a pattern.
#pragma once

#include <cstdint>

#include "bench.hpp"

// Kernels of wgmma would be empty, and their rates absurd.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900 && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#error "compute capability 9.0 is measured as 90a (OCTAVO_CUDA_ARCHITECTURES): 90 has no wgmma"
#endif

namespace octavo::bench {

__device__ inline long long nanoseconds() {
  long long t;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
  return t;
}

// Bits that look random: units draw less power on zeros, and clocks rise.
__device__ inline std::uint32_t scramble(std::uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

// First block, first thread: from start to stop.
struct Watch {
  long long cycles, began;
  __device__ void start() { cycles = clock64(), began = nanoseconds(); }
  __device__ void stop(Ticks* to) const {
    if (blockIdx.x == 0 && threadIdx.x == 0) *to = {clock64() - cycles, nanoseconds() - began};
  }
};

}  // namespace octavo::bench
