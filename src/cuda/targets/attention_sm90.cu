// The device's entries of host/sm90_kernels.inc, for compute capability 9.0a alone.
#include "cuda/attention/prefill_sm90.hpp"
#include "cuda/host/kernel_table.hpp"
#include "cuda/tile/ptx_sm90.hpp"

namespace octavo::cuda {
namespace {

// One block per multiprocessor, whose registers the kernel shares out.
#define OCTAVO_CUDA_SM90_KERNEL(name, dim, scores, values, f16_sums, variant)                            \
  using shape_of_##name = AttentionShapeSm90<dim, PackedFormat::scores, PackedFormat::values, f16_sums>; \
  __global__ void __launch_bounds__(attention_launch_sm90<shape_of_##name>().threads, 1)                 \
      name(const __grid_constant__ AttentionParamsSm90<PtxSm90::TensorMap> p) {                          \
    PtxSm90 machine;                                                                                     \
    attend_sm90<PtxSm90, shape_of_##name, AttentionVariant::variant>(machine, p);                        \
  }
#include "cuda/host/sm90_kernels.inc"
#undef OCTAVO_CUDA_SM90_KERNEL
static_assert(sizeof(AttentionParamsSm90<PtxSm90::TensorMap>) == sizeof(AttentionParamsSm90<TensorMapBytes>));

}  // namespace

KernelTable sm90_kernels() {
  static const DeviceKernel kTable[] = {
#define OCTAVO_CUDA_SM90_KERNEL(name, dim, scores, values, f16_sums, variant) \
  {#name, reinterpret_cast<const void*>(&name)},
#include "cuda/host/sm90_kernels.inc"
#undef OCTAVO_CUDA_SM90_KERNEL
  };
  return kTable;
}

}  // namespace octavo::cuda
