// The device's entries of host/operand_kernels.inc. Compiled without contraction, since the quantizers' f32 arithmetic
// is specified: products and sums are rounded one by one, divisions to nearest, denormals kept.
#include "cuda/attention/finish_operands.hpp"
#include "cuda/attention/heavy_keys.hpp"
#include "cuda/attention/merge.hpp"
#include "cuda/attention/merge_parts.hpp"
#include "cuda/decode/append.hpp"
#include "cuda/decode/finish.hpp"
#include "cuda/decode/terms.hpp"
#include "cuda/host/kernel_table.hpp"
#include "cuda/operands/dequantize.hpp"
#include "cuda/operands/head_stats.hpp"
#include "cuda/operands/pack_call.hpp"
#include "cuda/operands/scale_places.hpp"
#include "cuda/operands/seen_keys.hpp"
#include "cuda/tile/ptx.hpp"

namespace octavo::cuda {
namespace {

#define OCTAVO_CUDA_ENTRY(entry, function, parameters)                                                \
  __global__ void __launch_bounds__(kCodeWarps* kLanes) entry(const __grid_constant__ parameters p) { \
    Ptx machine;                                                                                      \
    function(machine, p);                                                                             \
  }
#define OCTAVO_CUDA_ROW_KERNEL(name, parameters)        \
  OCTAVO_CUDA_ENTRY(name##_of_64, name<2>, parameters)  \
  OCTAVO_CUDA_ENTRY(name##_of_128, name<4>, parameters) \
  OCTAVO_CUDA_ENTRY(name##_of_256, name<8>, parameters)
#define OCTAVO_CUDA_KERNEL(name, parameters) OCTAVO_CUDA_ENTRY(name##_entry, name, parameters)
#include "cuda/host/operand_kernels.inc"
#undef OCTAVO_CUDA_ROW_KERNEL
#undef OCTAVO_CUDA_KERNEL

}  // namespace

KernelTable operand_kernels() {
  static const DeviceKernel kTable[] = {
#define OCTAVO_CUDA_ROW_KERNEL(name, parameters)                     \
  {#name "_64", reinterpret_cast<const void*>(&name##_of_64)},       \
      {#name "_128", reinterpret_cast<const void*>(&name##_of_128)}, \
      {#name "_256", reinterpret_cast<const void*>(&name##_of_256)},
#define OCTAVO_CUDA_KERNEL(name, parameters) {#name, reinterpret_cast<const void*>(&name##_entry)},
#include "cuda/host/operand_kernels.inc"
#undef OCTAVO_CUDA_ROW_KERNEL
#undef OCTAVO_CUDA_KERNEL
  };
  return kTable;
}

}  // namespace octavo::cuda
