// A tensor map on the host: the bytes of a box, and where each 16 of them go in shared memory.
#pragma once

#include <array>
#include <cstdint>

#include "cuda/tile/tensor_box.hpp"
#include "cuda_emulation/mbarrier.hpp"

namespace octavo::cuda::emulation {

// As large as the driver's, so that parameters of kernels have one layout.
struct alignas(kTensorMapAlignment) TensorMap {
  TensorBox box;
};
static_assert(sizeof(TensorMap) == kTensorMapBytes);

// The box at element (at[0], at[1], ..), which may lie outside the tensor, for shared memory from byte `to` on. Throws
// a Fault where the map or the place breaks a rule.
BulkCopy read_box(int warp, const TensorMap& map, std::uint32_t to, const std::array<std::int32_t, kMostBoxAxes>& at);

// `bytes` from `from` on, side by side.
BulkCopy read_bytes(int warp, const void* from, std::uint32_t to, std::uint32_t bytes);

}  // namespace octavo::cuda::emulation
