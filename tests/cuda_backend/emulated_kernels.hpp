// The kernels of the tables on the emulated machine, by their KernelId.
#pragma once

#include <cstddef>

#include "cuda_emulation/block.hpp"

namespace octavo::test {

struct EmulatedKernel {
  const char* name;
  std::size_t params_bytes;
  void (*run)(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, const void* params);
};

const EmulatedKernel& emulated_kernel(int id);
const EmulatedKernel& emulated_attention_kernel(int index);
const EmulatedKernel& emulated_kept_kernel(int index);
const EmulatedKernel& emulated_decode_kernel(int index);
const EmulatedKernel& emulated_e4m3_kernel(int index);
const EmulatedKernel& emulated_s4_kernel(int index);
const EmulatedKernel& emulated_s4_e4m3_kernel(int index);
const EmulatedKernel& emulated_sm90_kernel(int index);

}  // namespace octavo::test
