#define OCTAVO_CUDA_LIST "cuda/host/kept_attention_kernels.inc"
#define OCTAVO_CUDA_TABLE emulated_kept_attention_kernels
#include "cuda/attention/kept_keys.hpp"
#include "emulated_attention_table.inc"

namespace octavo::test {
namespace {

template <class Shape>
void join(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, const void* params) {
  using cuda::emulation::Emulated;
  cuda::emulation::launch(grid, options, [&](Emulated& machine) {
    cuda::join_kept_keys<Shape>(machine, *static_cast<const cuda::KeptKeysParams*>(params));
  });
}

}  // namespace

EmulatedTable emulated_kept_kernels() {
  static const EmulatedKernel kTable[] = {
#define OCTAVO_CUDA_KEPT_KERNEL(name, dim, numbers) \
  {#name, sizeof(cuda::KeptKeysParams), &join<cuda::KeptShape<dim, DType::numbers>>},
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_KERNEL
  };
  return kTable;
}

}  // namespace octavo::test
