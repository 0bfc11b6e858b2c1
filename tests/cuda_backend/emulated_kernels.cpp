#include "emulated_kernels.hpp"

#include "cuda/attention/finish_operands.hpp"
#include "cuda/attention/heavy_keys.hpp"
#include "cuda/attention/merge.hpp"
#include "cuda/attention/merge_parts.hpp"
#include "cuda/decode/append.hpp"
#include "cuda/decode/finish.hpp"
#include "cuda/decode/terms.hpp"
#include "cuda/operands/dequantize.hpp"
#include "cuda/operands/head_stats.hpp"
#include "cuda/operands/pack_call.hpp"
#include "cuda/operands/scale_places.hpp"
#include "cuda/operands/seen_keys.hpp"
#include "cuda_emulation/machine.hpp"

namespace octavo::test {
namespace {

using cuda::emulation::Emulated;
using namespace cuda;

template <class Params, void (*kernel)(Emulated&, const Params&)>
void run(const emulation::Grid& grid, const emulation::Options& options, const void* params) {
  emulation::launch(grid, options, [&](Emulated& machine) { kernel(machine, *static_cast<const Params*>(params)); });
}

}  // namespace

EmulatedTable emulated_operand_kernels() {
  static const EmulatedKernel kTable[] = {
#define OCTAVO_CUDA_ROW_KERNEL(name, parameters)                                \
  {#name "_64", sizeof(parameters), &run<parameters, &name<2, Emulated>>},      \
      {#name "_128", sizeof(parameters), &run<parameters, &name<4, Emulated>>}, \
      {#name "_256", sizeof(parameters), &run<parameters, &name<8, Emulated>>},
#define OCTAVO_CUDA_KERNEL(name, parameters) {#name, sizeof(parameters), &run<parameters, &name<Emulated>>},
#include "cuda/host/operand_kernels.inc"
#undef OCTAVO_CUDA_ROW_KERNEL
#undef OCTAVO_CUDA_KERNEL
  };
  return kTable;
}

}  // namespace octavo::test
