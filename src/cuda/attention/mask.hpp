// Masks by position: scores of keys behind the causal diagonal, outside the window or behind the sequence become
// -infinity.
// A lane's columns are slots; visibility is counted in keys.
#pragma once

#include <cstdint>

#include "cuda/attention/task.hpp"
#include "cuda/operands/packed_block.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

template <class Shape>
OCTAVO_INLINE constexpr int key_of_column(int column) {
  return Shape::kIntegerValues ? key_of_slot(column) : column;
}

// Key of element i of a lane's scores, counted from the tile's first. Columns 2t and 2t + 1 of tiles 2u and 2u + 1.
template <class Shape>
OCTAVO_INLINE constexpr int key_of_element(int lane, int i) {
  return key_of_column<Shape>(i / 4 * 8 + lane % 4 * 2 + i % 2);
}

// Row of the sequence that a lane's half belongs to; the warp's first is `first_row`.
OCTAVO_INLINE constexpr std::int32_t row_of_lane(std::int32_t first_row, int lane, int half) {
  return first_row + lane / 4 + 8 * half;
}

template <class Shape, class Machine>
OCTAVO_DEVICE void mask_keys(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                             std::int32_t warp_row, std::int32_t first_key,
                             Registers<Machine, float, Shape::kKeys / 2>& scores) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2]) {
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const Keys32 seen = keys_of_row(p, task, row_of_lane(warp_row, lane, half));
          const auto begin = seen.begin - first_key;
          const auto end = seen.end - first_key;
          OCTAVO_UNROLL
          for (int tile = 0; tile < Shape::kKeys / 8; ++tile) {
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) {
              const int i = 4 * tile + 2 * half + j, key = key_of_element<Shape>(lane, i);
              if (key < begin || key >= end) s[i] = -__builtin_inff();
            }
          }
        }
      },
      scores);
}

}  // namespace octavo::cuda
