// The compiled kernels that the CUDA runtime launches.
#pragma once

#include "cuda/host/kernel_id.hpp"

namespace octavo::cuda {

struct DeviceKernel {
  const char* name;
  const void* entry;  // a __global__ function with one parameter
};

// Each from the start of its own table; the targets define them.
const DeviceKernel& quantize_kernel(int index);
const DeviceKernel& attention_kernel(int index);
const DeviceKernel& kept_kernel(int index);
const DeviceKernel& decode_kernel(int index);
const DeviceKernel& e4m3_kernel(int index);
const DeviceKernel& s4_kernel(int index);
const DeviceKernel& s4_e4m3_kernel(int index);
const DeviceKernel& sm90_kernel(int index);

// Whether this build has the last table's kernels.
bool has_sm90_kernels() noexcept;

inline const DeviceKernel& device_kernel(KernelId id) {
  const int index = static_cast<int>(id);
  return index < kQuantizeKernels       ? quantize_kernel(index)
         : index < kKernelsBeforeKept   ? attention_kernel(index - kQuantizeKernels)
         : index < kKernelsBeforeDecode ? kept_kernel(index - kKernelsBeforeKept)
         : index < kKernelsBeforeE4m3   ? decode_kernel(index - kKernelsBeforeDecode)
         : index < kKernelsBeforeS4     ? e4m3_kernel(index - kKernelsBeforeE4m3)
         : index < kKernelsBeforeS4E4m3 ? s4_kernel(index - kKernelsBeforeS4)
         : index < kKernelsBeforeSm90   ? s4_e4m3_kernel(index - kKernelsBeforeS4E4m3)
                                        : sm90_kernel(index - kKernelsBeforeSm90);
}

}  // namespace octavo::cuda
