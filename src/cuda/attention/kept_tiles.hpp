// Which kept keys are the tiles of a block of query rows, and how rows of Q, K and V come into shared memory
// (kept_keys.hpp).
#pragma once

#include "cuda/attention/kept_shape.hpp"
#include "cuda/operands/bf16_planes.hpp"
#include "cuda/operands/load_transform.hpp"
#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {

// Rows first .. first + 3 of 16 of `x` into the planes at `to`, zeros where row_of(i) is negative; NaN at `flags` [16]
// for those that hold a NaN or infinity, which become zeros, else 0.
template <class Shape, class Machine, class RowOf>
OCTAVO_DEVICE void load_kept_rows(Machine& machine, OperandRows x, std::int64_t base, float factor, std::uint32_t to,
                                  std::uint32_t flags, std::uint32_t first, const RowOf& row_of) {
  constexpr int kPerLane = Shape::kDim / kLanes, kRows = Shape::kRowsOfUnit;
  if (Shape::kNumbers != DType::f32) x.dtype = Shape::kNumbers;  // known when the kernel is compiled
  Registers<Machine, float, kPerLane * kRows> numbers;
  Registers<Machine, std::uint32_t, kRows> nonfinite;
  std::int64_t rows[kRows];
  OCTAVO_UNROLL
  for (int i = 0; i < kRows; ++i) rows[i] = row_of(static_cast<int>(first) + i);
  machine.lanes(
      [&](int lane, float(&v)[kPerLane * kRows]) {
        if (x.pairs) {
          OCTAVO_UNROLL
          for (int i = 0; i < kPerLane * kRows; i += 2) {
            const int c = channel_of(lane, i % kPerLane), row = i / kPerLane;
            v[i] = v[i + 1] = 0;
            if (rows[row] >= 0 && c < x.dim) load_pair<Machine>(x, base + rows[row] * x.strides[2], c, v[i], v[i + 1]);
          }
          return;
        }
        OCTAVO_ROLLED
        for (int i = 0; i < kPerLane * kRows; ++i) {
          const int c = channel_of(lane, i % kPerLane);
          std::int64_t row = -1;
          OCTAVO_UNROLL
          for (int k = 0; k < kRows; ++k) {
            if (k == i / kPerLane) row = rows[k];
          }
          float number = 0;
          if (row >= 0 && c < x.dim) number = load_number<Machine>(x, base + row * x.strides[2] + c * x.strides[3]);
          OCTAVO_UNROLL
          for (int k = 0; k < kPerLane * kRows; ++k) {
            if (k == i) v[k] = number;
          }
        }
      },
      numbers);
  machine.lanes(
      [](int, float(&v)[kPerLane * kRows], std::uint32_t(&o)[kRows]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kRows; ++i) {
          o[i] = 0;
          OCTAVO_UNROLL
          for (int s = 0; s < kPerLane; ++s) o[i] |= is_finite(v[i * kPerLane + s]) ? 0u : 1u;
        }
      },
      numbers, nonfinite);
  reduce_over<kLanes>(machine, nonfinite, [](std::uint32_t a, std::uint32_t b) { return a | b; });
  machine.lanes(
      [&](int lane, float(&v)[kPerLane * kRows], std::uint32_t(&o)[kRows]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kRows; ++i) {
          const std::uint32_t row = first + static_cast<std::uint32_t>(i);
          OCTAVO_UNROLL
          for (int s = 0; s < kPerLane; s += 2) {
            float a = o[i] != 0 ? 0.0f : v[i * kPerLane + s] * factor;
            float b = o[i] != 0 ? 0.0f : v[i * kPerLane + s + 1] * factor;
            const auto byte = static_cast<std::uint32_t>(2 * channel_of(lane, s));
            const std::uint32_t at =
                to + SharedTile<Shape::kRowBytes>::at(row, byte / kChunkBytes) + byte % kChunkBytes;
            OCTAVO_UNROLL
            for (int plane = 0; plane < Shape::kPlanes; ++plane) {
              machine.store_shared(at + static_cast<std::uint32_t>(plane) * Shape::kPlaneBytes,
                                   Shape::kF16 ? Machine::pack_f16(a, b) : take_upper_halves(a, b));
            }
          }
          if (lane != i) continue;
          machine.store_shared(flags + 4 * row, o[i] != 0 ? f32_of_bits(0x7fc00000u) : 0.0f);
        }
      },
      numbers, nonfinite);
}

// The keys of a block's tiles: strips of near keys, then the list of first and heavy ones.
struct KeptColumns {
  std::int32_t span_begin = 0, span_end = 0;  // of all rows; both 0: none
  std::int32_t first = 0;                     // of the list: keys 0 .. first - 1
  std::int32_t listed = 0;                    // all of the list
  const std::int32_t* heavy = nullptr;

  OCTAVO_MEMBER std::int32_t first_strip() const { return span_begin / 16; }
  OCTAVO_MEMBER std::int32_t span_tiles() const { return (span_end + 15) / 16 - first_strip(); }
  OCTAVO_MEMBER std::int32_t tiles() const { return span_tiles() + (listed + 15) / 16; }
  // -1: none.
  OCTAVO_MEMBER std::int32_t key(std::int32_t tile, std::int32_t i) const {
    const std::int32_t behind = tile - span_tiles();
    if (behind < 0) {
      const std::int32_t key = 16 * (first_strip() + tile) + i;
      return key >= span_begin && key < span_end ? key : -1;
    }
    const std::int32_t at = 16 * behind + i;
    return at < first ? at : at < listed ? heavy[at - first] : -1;
  }
};

}  // namespace octavo::cuda
