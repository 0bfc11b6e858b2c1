#include "cuda/attention/kept_keys.hpp"
#include "cuda/attention/prefill_sm80.hpp"
#include "cuda_emulation/machine.hpp"
#include "emulated_kernels.hpp"

namespace octavo::test {
namespace {

using cuda::emulation::Emulated;

template <class Shape, cuda::AttentionVariant variant>
void attend(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, const void* params) {
  cuda::emulation::launch(grid, options, [&](Emulated& machine) {
    cuda::attend<Emulated, Shape, variant>(machine, *static_cast<const cuda::AttentionKernelParams*>(params));
  });
}

template <class Shape>
void join(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, const void* params) {
  cuda::emulation::launch(grid, options, [&](Emulated& machine) {
    cuda::join_kept_keys<Shape>(machine, *static_cast<const cuda::KeptKeysParams*>(params));
  });
}

}  // namespace

const EmulatedKernel& emulated_kept_kernel(int index) {
  using cuda::AttentionShape, cuda::AttentionVariant, cuda::PackedFormat;
  static const EmulatedKernel kTable[] = {
#define OCTAVO_CUDA_KEPT_ATTENTION_KERNEL(name, dim, scores, values, variant) \
  {#name, sizeof(cuda::AttentionKernelParams),                                \
   &attend<AttentionShape<dim, PackedFormat::scores, PackedFormat::values>, AttentionVariant::variant>},
#define OCTAVO_CUDA_KEPT_KERNEL(name, dim, numbers) \
  {#name, sizeof(cuda::KeptKeysParams), &join<cuda::KeptShape<dim, DType::numbers>>},
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_ATTENTION_KERNEL
#undef OCTAVO_CUDA_KEPT_KERNEL
  };
  return kTable[index];
}

}  // namespace octavo::test
