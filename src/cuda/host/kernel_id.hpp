// Identifiers of the kernels in the tables; the host side launches kernels by them.
#pragma once

#include <cstdint>

namespace octavo::cuda {

enum class KernelId : int {
#define OCTAVO_CUDA_ROW_KERNEL(name, parameters) name##_64, name##_128, name##_256,
#define OCTAVO_CUDA_KERNEL(name, parameters) name,
#include "cuda/host/operand_kernels.inc"
#undef OCTAVO_CUDA_ROW_KERNEL
#undef OCTAVO_CUDA_KERNEL
  quantizers,  // how many
  before_attention = quantizers - 1,
#define OCTAVO_CUDA_ATTENTION_KERNEL(name, dim, scores, values, variant) name,
#include "cuda/host/attention_kernels.inc"
#undef OCTAVO_CUDA_ATTENTION_KERNEL
  before_kept,  // how many the two tables have
  last_before_kept = before_kept - 1,
#define OCTAVO_CUDA_KEPT_ATTENTION_KERNEL(name, dim, scores, values, variant) name,
#define OCTAVO_CUDA_KEPT_KERNEL(name, dim, numbers) name,
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_ATTENTION_KERNEL
#undef OCTAVO_CUDA_KEPT_KERNEL
  before_decode,  // how many the three tables have
  last_before_decode = before_decode - 1,
#define OCTAVO_CUDA_DECODE_KERNEL(name, format, dim) name,
#include "cuda/host/decode_kernels.inc"
#undef OCTAVO_CUDA_DECODE_KERNEL
  before_e4m3,  // how many the four tables have
  last_before_e4m3 = before_e4m3 - 1,
#define OCTAVO_CUDA_E4M3_KERNEL(name, dim, scores, values, variant) name,
#include "cuda/host/e4m3_kernels.inc"
#undef OCTAVO_CUDA_E4M3_KERNEL
  before_s4,  // how many the five tables have
  last_before_s4 = before_s4 - 1,
#define OCTAVO_CUDA_S4_KERNEL(name, dim, scores, values, variant) name,
#include "cuda/host/s4_kernels.inc"
#undef OCTAVO_CUDA_S4_KERNEL
  before_s4_e4m3,  // how many the six tables have
  last_before_s4_e4m3 = before_s4_e4m3 - 1,
#define OCTAVO_CUDA_S4_E4M3_KERNEL(name, dim, scores, values, variant) name,
#include "cuda/host/s4_e4m3_kernels.inc"
#undef OCTAVO_CUDA_S4_E4M3_KERNEL
  before_sm90,  // how many the seven tables have
  last_before_sm90 = before_sm90 - 1,
#define OCTAVO_CUDA_SM90_KERNEL(name, dim, scores, values, f16_sums, variant) name,
#include "cuda/host/sm90_kernels.inc"
#undef OCTAVO_CUDA_SM90_KERNEL
  all,
};

constexpr int kQuantizeKernels = static_cast<int>(KernelId::quantizers);
constexpr int kKernelsBeforeKept = static_cast<int>(KernelId::before_kept);
constexpr int kKernelsBeforeDecode = static_cast<int>(KernelId::before_decode);
constexpr int kKernelsBeforeE4m3 = static_cast<int>(KernelId::before_e4m3);
constexpr int kKernelsBeforeS4 = static_cast<int>(KernelId::before_s4);
constexpr int kKernelsBeforeS4E4m3 = static_cast<int>(KernelId::before_s4_e4m3);
constexpr int kKernelsBeforeSm90 = static_cast<int>(KernelId::before_sm90);
constexpr int kKernels = static_cast<int>(KernelId::all);

// The entry of a row kernel for rows of `dim` channels; `base` is that for 64.
constexpr KernelId row_kernel(KernelId base, std::int64_t dim) {
  return static_cast<KernelId>(static_cast<int>(base) + (dim <= 64 ? 0 : dim <= 128 ? 1 : 2));
}

}  // namespace octavo::cuda
