// The device's entries of host/kept_kernels.inc.
#include "cuda/attention/kept_keys.hpp"
#include "cuda/attention/prefill_sm80.hpp"
#include "cuda/host/kernel_table.hpp"
#include "cuda/tile/ptx.hpp"

namespace octavo::cuda {
namespace {

#define OCTAVO_CUDA_KEPT_ATTENTION_KERNEL(name, dim, scores, values, variant)              \
  using shape_of_##name = AttentionShape<dim, PackedFormat::scores, PackedFormat::values>; \
  __global__ void __launch_bounds__(attention_launch<shape_of_##name>().threads, 1)        \
      name(const __grid_constant__ AttentionKernelParams p) {                              \
    Ptx machine;                                                                           \
    attend<Ptx, shape_of_##name, AttentionVariant::variant>(machine, p);                   \
  }
#define OCTAVO_CUDA_KEPT_KERNEL(name, dim, numbers)                                                                   \
  using shape_of_##name = KeptShape<dim, DType::numbers>;                                                             \
  __global__ void __launch_bounds__(32 * shape_of_##name::kWarps, 1) name(const __grid_constant__ KeptKeysParams p) { \
    Ptx machine;                                                                                                      \
    join_kept_keys<shape_of_##name>(machine, p);                                                                      \
  }
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_ATTENTION_KERNEL
#undef OCTAVO_CUDA_KEPT_KERNEL

}  // namespace

const DeviceKernel& kept_kernel(int index) {
  static const DeviceKernel kTable[] = {
#define OCTAVO_CUDA_KEPT_ATTENTION_KERNEL(name, dim, scores, values, variant) \
  {#name, reinterpret_cast<const void*>(&name)},
#define OCTAVO_CUDA_KEPT_KERNEL(name, dim, numbers) {#name, reinterpret_cast<const void*>(&name)},
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_ATTENTION_KERNEL
#undef OCTAVO_CUDA_KEPT_KERNEL
  };
  return kTable[index];
}

}  // namespace octavo::cuda
