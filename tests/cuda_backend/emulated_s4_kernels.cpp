#include "cuda/attention/prefill_sm80.hpp"
#include "cuda_emulation/machine.hpp"
#include "emulated_kernels.hpp"

namespace octavo::test {
namespace {

template <class Shape, cuda::AttentionVariant variant>
void run(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, const void* params) {
  using cuda::emulation::Emulated;
  cuda::emulation::launch(grid, options, [&](Emulated& machine) {
    cuda::attend<Emulated, Shape, variant>(machine, *static_cast<const cuda::AttentionKernelParams*>(params));
  });
}

template <class Shape, cuda::AttentionVariant variant>
constexpr EmulatedKernel entry(const char* name) {
  return {name, sizeof(cuda::AttentionKernelParams), &run<Shape, variant>};
}

}  // namespace

const EmulatedKernel& emulated_s4_kernel(int index) {
  using cuda::AttentionShape, cuda::AttentionVariant, cuda::PackedFormat;
  static const EmulatedKernel kTable[] = {
#define OCTAVO_CUDA_S4_KERNEL(name, dim, scores, values, variant) \
  entry<AttentionShape<dim, PackedFormat::scores, PackedFormat::values>, AttentionVariant::variant>(#name),
#include "cuda/host/s4_kernels.inc"
#undef OCTAVO_CUDA_S4_KERNEL
  };
  return kTable[index];
}

const EmulatedKernel& emulated_s4_e4m3_kernel(int index) {
  using cuda::AttentionShape, cuda::AttentionVariant, cuda::PackedFormat;
  static const EmulatedKernel kTable[] = {
#define OCTAVO_CUDA_S4_E4M3_KERNEL(name, dim, scores, values, variant) \
  entry<AttentionShape<dim, PackedFormat::scores, PackedFormat::values>, AttentionVariant::variant>(#name),
#include "cuda/host/s4_e4m3_kernels.inc"
#undef OCTAVO_CUDA_S4_E4M3_KERNEL
  };
  return kTable[index];
}

}  // namespace octavo::test
