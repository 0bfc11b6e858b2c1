// Identifiers of the kernels in the tables; the host side launches kernels by them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace octavo::cuda {

// One table after another.
enum class KernelId : int {
#define OCTAVO_CUDA_ROW_KERNEL(name, parameters) name##_64, name##_128, name##_256,
#define OCTAVO_CUDA_KERNEL(name, parameters) name,
#include "cuda/host/operand_kernels.inc"
#undef OCTAVO_CUDA_ROW_KERNEL
#undef OCTAVO_CUDA_KERNEL
#define OCTAVO_CUDA_ATTENTION_KERNEL(name, dim, scores, values, variant) name,
#include "cuda/host/attention_kernels.inc"
#include "cuda/host/e4m3_kernels.inc"
#include "cuda/host/kept_attention_kernels.inc"
#include "cuda/host/s4_e4m3_kernels.inc"
#include "cuda/host/s4_kernels.inc"
#undef OCTAVO_CUDA_ATTENTION_KERNEL
#define OCTAVO_CUDA_KEPT_KERNEL(name, dim, numbers) name,
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_KERNEL
#define OCTAVO_CUDA_DECODE_KERNEL(name, format, dim) name,
#include "cuda/host/decode_kernels.inc"
#undef OCTAVO_CUDA_DECODE_KERNEL
#define OCTAVO_CUDA_SM90_KERNEL(name, dim, scores, values, f16_sums, variant) name,
#include "cuda/host/sm90_kernels.inc"
#undef OCTAVO_CUDA_SM90_KERNEL
  all,
};

constexpr int kKernels = static_cast<int>(KernelId::all);

// The kernel of an id; `tables` are in the order of KernelId, and only the last ones may be empty. Null: this build has
// no such kernel.
template <class Kernel, std::size_t count>
const Kernel* kernel_of(const std::array<std::span<const Kernel>, count>& tables, KernelId id) {
  auto index = static_cast<std::size_t>(id);
  for (const std::span<const Kernel> table : tables) {
    if (index < table.size()) return &table[index];
    index -= table.size();
  }
  return nullptr;
}

// The entry of a row kernel for rows of `dim` channels; `base` is that for 64.
constexpr KernelId row_kernel(KernelId base, std::int64_t dim) {
  return static_cast<KernelId>(static_cast<int>(base) + (dim <= 64 ? 0 : dim <= 128 ? 1 : 2));
}

}  // namespace octavo::cuda
