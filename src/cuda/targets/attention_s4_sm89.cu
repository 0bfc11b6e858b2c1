// The device's entries of host/s4_e4m3_kernels.inc.
#include "cuda/attention/prefill_sm80.hpp"
#include "cuda/host/kernel_table.hpp"
#include "cuda/tile/ptx.hpp"

namespace octavo::cuda {
namespace {

#define OCTAVO_CUDA_S4_E4M3_KERNEL(name, dim, scores, values, variant)                     \
  using shape_of_##name = AttentionShape<dim, PackedFormat::scores, PackedFormat::values>; \
  __global__ void __launch_bounds__(attention_launch<shape_of_##name>().threads, 1)        \
      name(const __grid_constant__ AttentionKernelParams p) {                              \
    Ptx machine;                                                                           \
    attend<Ptx, shape_of_##name, AttentionVariant::variant>(machine, p);                   \
  }
#include "cuda/host/s4_e4m3_kernels.inc"
#undef OCTAVO_CUDA_S4_E4M3_KERNEL

}  // namespace

const DeviceKernel& s4_e4m3_kernel(int index) {
  static const DeviceKernel kTable[] = {
#define OCTAVO_CUDA_S4_E4M3_KERNEL(name, dim, scores, values, variant) {#name, reinterpret_cast<const void*>(&name)},
#include "cuda/host/s4_e4m3_kernels.inc"
#undef OCTAVO_CUDA_S4_E4M3_KERNEL
  };
  return kTable[index];
}

}  // namespace octavo::cuda
