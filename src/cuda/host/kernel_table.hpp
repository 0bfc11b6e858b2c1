// The compiled kernels that the CUDA runtime launches.
#pragma once

#include "cuda/host/kernel_id.hpp"

namespace octavo::cuda {

struct DeviceKernel {
  const char* name;
  const void* entry;  // a __global__ function with one parameter
};
using KernelTable = std::span<const DeviceKernel>;

// The targets define them.
KernelTable operand_kernels();
KernelTable attention_kernels();
KernelTable e4m3_kernels();
KernelTable kept_attention_kernels();
KernelTable s4_e4m3_kernels();
KernelTable s4_kernels();
KernelTable kept_kernels();
KernelTable decode_kernels();
KernelTable sm90_kernels();  // empty in a build without them

inline const DeviceKernel* device_kernel(KernelId id) {
  return kernel_of<DeviceKernel>(
      std::array{operand_kernels(), attention_kernels(), e4m3_kernels(), kept_attention_kernels(), s4_e4m3_kernels(),
                 s4_kernels(), kept_kernels(), decode_kernels(), sm90_kernels()},
      id);
}

}  // namespace octavo::cuda
