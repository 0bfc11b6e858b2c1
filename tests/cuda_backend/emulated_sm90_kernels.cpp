#include <cstring>

#include "cuda/attention/prefill_sm90.hpp"
#include "cuda_emulation/machine_sm90.hpp"
#include "emulated_kernels.hpp"

namespace octavo::test {
namespace {

using cuda::emulation::EmulatedSm90;
using Params = cuda::AttentionParamsSm90<EmulatedSm90::TensorMap>;
static_assert(sizeof(Params) == sizeof(cuda::AttentionParamsSm90<cuda::TensorMapBytes>));

template <class Shape, cuda::AttentionVariant variant>
void run(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, const void* bytes) {
  Params params;
  std::memcpy(static_cast<void*>(&params), bytes, sizeof params);  // as a launch copies them
  cuda::emulation::Grid with_registers = grid;
  with_registers.registers = Shape::kRegisters;
  cuda::emulation::launch<EmulatedSm90>(with_registers, options, [&](EmulatedSm90& machine) {
    cuda::attend_sm90<EmulatedSm90, Shape, variant>(machine, params);
  });
}

}  // namespace

EmulatedTable emulated_sm90_kernels() {
  using cuda::AttentionShapeSm90, cuda::AttentionVariant, cuda::PackedFormat;
  static const EmulatedKernel kTable[] = {
#define OCTAVO_CUDA_SM90_KERNEL(name, dim, scores, values, f16_sums, variant) \
  {#name, sizeof(Params),                                                     \
   &run<AttentionShapeSm90<dim, PackedFormat::scores, PackedFormat::values, f16_sums>, AttentionVariant::variant>},
#include "cuda/host/sm90_kernels.inc"
#undef OCTAVO_CUDA_SM90_KERNEL
  };
  return kTable;
}

}  // namespace octavo::test
