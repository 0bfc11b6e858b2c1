// Kept keys: attention over the others, and the kernels that compute and join them.
#define OCTAVO_CUDA_LIST "cuda/host/kept_attention_kernels.inc"
#define OCTAVO_CUDA_TABLE kept_attention_kernels
#include "cuda/attention/kept_keys.hpp"
#include "cuda/targets/attention_entries.inc"

namespace octavo::cuda {
namespace {

#define OCTAVO_CUDA_KEPT_KERNEL(name, dim, numbers)                                                                   \
  using shape_of_##name = KeptShape<dim, DType::numbers>;                                                             \
  __global__ void __launch_bounds__(32 * shape_of_##name::kWarps, 1) name(const __grid_constant__ KeptKeysParams p) { \
    Ptx machine;                                                                                                      \
    join_kept_keys<shape_of_##name>(machine, p);                                                                      \
  }
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_KERNEL

}  // namespace

KernelTable kept_kernels() {
  static const DeviceKernel kTable[] = {
#define OCTAVO_CUDA_KEPT_KERNEL(name, dim, numbers) {#name, reinterpret_cast<const void*>(&name)},
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_KERNEL
  };
  return kTable;
}

}  // namespace octavo::cuda
