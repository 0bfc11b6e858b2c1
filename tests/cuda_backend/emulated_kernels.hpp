// The kernels of the tables on the emulated machine, by their KernelId.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "cuda/host/kernel_id.hpp"
#include "cuda_emulation/block.hpp"

namespace octavo::test {

struct EmulatedKernel {
  const char* name;
  std::size_t params_bytes;
  void (*run)(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, const void* params);
};

using EmulatedTable = std::span<const EmulatedKernel>;

EmulatedTable emulated_operand_kernels();
EmulatedTable emulated_attention_kernels();
EmulatedTable emulated_e4m3_kernels();
EmulatedTable emulated_kept_attention_kernels();
EmulatedTable emulated_s4_e4m3_kernels();
EmulatedTable emulated_s4_kernels();
EmulatedTable emulated_kept_kernels();
EmulatedTable emulated_decode_kernels();
EmulatedTable emulated_sm90_kernels();

inline const EmulatedKernel& emulated_kernel(int id) {
  const std::array tables{emulated_operand_kernels(),        emulated_attention_kernels(), emulated_e4m3_kernels(),
                          emulated_kept_attention_kernels(), emulated_s4_e4m3_kernels(),   emulated_s4_kernels(),
                          emulated_kept_kernels(),           emulated_decode_kernels(),    emulated_sm90_kernels()};
  return *cuda::kernel_of<EmulatedKernel>(tables, static_cast<cuda::KernelId>(id));
}

}  // namespace octavo::test
