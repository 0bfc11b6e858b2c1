// Which element of a matrix each register of each thread of a warpgroup holds in the products wgmma.mma_async m64nNk32
// (8-bit operands) and m64nNk16 (16-bit): (thread, register, index within the register) -> (row, column). PTX ISA,
// "Register fragments and shared memory matrix layouts": each of the four warps has 16 rows, its fragments are those of
// mma.sync, those of the sums side by side.
#pragma once

#include "cuda/tile/fragments.hpp"

namespace octavo::cuda {

constexpr int kWarpgroupRows = 64;
constexpr int kWgmmaDepthBytes = 32;  // of a row of A or of a column of B, whatever the elements

// A [64, 32 bytes]: four registers of `elements`.
template <int elements>
OCTAVO_INLINE constexpr Place place_in_wgmma_a(int thread, int reg, int i) {
  const Place place = place_in_a<elements>(thread % 32, reg, i);
  return {16 * (thread / 32) + place.row, place.column};
}
// C [64, N]: N / 2 registers.
OCTAVO_INLINE constexpr Place place_in_wgmma_c(int thread, int reg) {
  const Place place = place_in_c(thread % 32, reg % 4);
  return {16 * (thread / 32) + place.row, reg / 4 * 8 + place.column};
}

}  // namespace octavo::cuda
