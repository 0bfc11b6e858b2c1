// A tensor map on the host: the bytes of a box, and where each 16 of them go in shared memory.
#pragma once

#include <array>
#include <cstdint>

#include "cuda/tile/tensor_box.hpp"
#include "cuda_emulation/mbarrier.hpp"

namespace octavo::cuda::emulation {

struct TensorMap {
  TensorBox box;
};

// The box at element (at[0], at[1], ..), which may lie outside the tensor, for shared memory from byte `to` on. Throws
// a Fault where the map or the place breaks a rule.
BulkCopy read_box(int warp, const TensorMap& map, std::uint32_t to, const std::array<std::int32_t, kMostBoxAxes>& at);

}  // namespace octavo::cuda::emulation
