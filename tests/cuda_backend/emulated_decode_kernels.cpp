#include "cuda/decode/attend.hpp"
#include "cuda_emulation/machine.hpp"
#include "emulated_kernels.hpp"

namespace octavo::test {
namespace {

using cuda::emulation::Emulated;

template <DType format, int dim>
void attend(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, const void* params) {
  cuda::emulation::launch(grid, options, [&](Emulated& machine) {
    cuda::attend_cache<format, dim>(machine, *static_cast<const cuda::DecodeParams*>(params));
  });
}

}  // namespace

EmulatedTable emulated_decode_kernels() {
  static const EmulatedKernel kTable[] = {
#define OCTAVO_CUDA_DECODE_KERNEL(name, format, dim) {#name, sizeof(cuda::DecodeParams), &attend<DType::format, dim>},
#include "cuda/host/decode_kernels.inc"
#undef OCTAVO_CUDA_DECODE_KERNEL
  };
  return kTable;
}

}  // namespace octavo::test
