// The device's entries of host/decode_kernels.inc.
#include "cuda/decode/attend.hpp"
#include "cuda/host/kernel_table.hpp"
#include "cuda/tile/ptx.hpp"

namespace octavo::cuda {
namespace {

#define OCTAVO_CUDA_DECODE_KERNEL(name, format, dim)                                                             \
  __global__ void __launch_bounds__(32 * kDecodeWarps, 2) name##_entry(const __grid_constant__ DecodeParams p) { \
    Ptx machine;                                                                                                 \
    attend_cache<DType::format, dim>(machine, p);                                                                \
  }
#include "cuda/host/decode_kernels.inc"
#undef OCTAVO_CUDA_DECODE_KERNEL

}  // namespace

KernelTable decode_kernels() {
  static const DeviceKernel kTable[] = {
#define OCTAVO_CUDA_DECODE_KERNEL(name, format, dim) {#name, reinterpret_cast<const void*>(&name##_entry)},
#include "cuda/host/decode_kernels.inc"
#undef OCTAVO_CUDA_DECODE_KERNEL
  };
  return kTable;
}

}  // namespace octavo::cuda
