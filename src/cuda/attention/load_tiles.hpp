// Copies tiles and vectors of packed operands from global into shared memory; all warps of a block take part.
#pragma once

#include <cstdint>

#include "cuda/attention/task.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {

// `kTileRows` rows of kRowBytes, dense in global memory, into the tile at `to`. Rows from `rows` on become zeros.
template <std::uint32_t kRowBytes, std::uint32_t kTileRows, int kWarps, class Machine>
OCTAVO_DEVICE void load_tile(Machine& machine, std::uint32_t to, const void* from, std::uint32_t rows = kTileRows) {
  using Tile = SharedTile<kRowBytes>;
  constexpr std::uint32_t kAll = kTileRows * Tile::kChunks, kStep = kWarps * kLanes;
  const auto first = static_cast<std::uint32_t>(machine.warp() * kLanes);
  OCTAVO_UNROLL
  for (std::uint32_t i = 0; i < kAll; i += kStep) {
    machine.copy16([&](int lane) {
      const std::uint32_t index = i + first + static_cast<std::uint32_t>(lane);
      const std::uint32_t row = index / Tile::kChunks, chunk = index % Tile::kChunks;
      const CopyWhat what = index >= kAll ? CopyWhat::nothing : row < rows ? CopyWhat::bytes : CopyWhat::zeros;
      return CopyItem{to + Tile::at(row, chunk), static_cast<const std::uint8_t*>(from) + index * kChunkBytes, what};
    });
  }
}

// `kFloats` f32 into the vector at `to`, by warp `by` alone.
template <int kFloats, class Machine>
OCTAVO_DEVICE void load_vector(Machine& machine, std::uint32_t to, const float* from, int by) {
  static_assert(kFloats % 4 == 0);
  if (from == nullptr || machine.warp() != by % machine.warps()) return;
  OCTAVO_UNROLL
  for (int i = 0; i < kFloats / 4; i += kLanes) {
    machine.copy16([&](int lane) {
      const int chunk = i + lane;
      return CopyItem{to + static_cast<std::uint32_t>(chunk) * kChunkBytes, from + 4 * chunk,
                      chunk < kFloats / 4 ? CopyWhat::bytes : CopyWhat::nothing};
    });
  }
}

// 16-bit Q has fewer than 16 rows: its low plane takes the place of rows 16 to 31.
constexpr std::uint32_t kQ16Rows = 16;
template <class Shape>
constexpr std::uint32_t kLowQueryAt = Shape::kQueryAt + kQ16Rows * Shape::kRowBytes;

template <class Shape, bool q16, class Machine>
OCTAVO_DEVICE void load_queries(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task) {
  const auto rows = static_cast<std::uint32_t>(task.q_rows - task.first_row);
  const std::int64_t first = task.packed_row * Shape::kRowBytes;
  const auto* codes = static_cast<const std::uint8_t*>(p.q.codes) + first;
  if constexpr (q16) {
    load_tile<Shape::kRowBytes, kQ16Rows, Shape::kWarps>(machine, Shape::kQueryAt, codes, rows);
    load_tile<Shape::kRowBytes, kQ16Rows, Shape::kWarps>(machine, kLowQueryAt<Shape>,
                                                         static_cast<const std::uint8_t*>(p.q.codes_low) + first, rows);
  } else {
    load_tile<Shape::kRowBytes, Shape::kRows, Shape::kWarps>(machine, Shape::kQueryAt, codes, rows);
  }
}

// K of the tile that begins at key `key` of the task's sequence, with the vectors of its scores, into stage `stage`.
template <class Shape, class Machine>
OCTAVO_DEVICE void load_keys(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                             std::int32_t key, std::uint32_t stage) {
  const std::int64_t slot = task.first_slot + static_cast<std::uint32_t>(key);
  load_tile<Shape::kRowBytes, Shape::kKeys, Shape::kWarps>(
      machine, Shape::kKeysAt + stage * Shape::kKeyBytes,
      static_cast<const std::uint8_t*>(p.k.codes) + slot * Shape::kRowBytes);
  const std::uint32_t vector = stage * Shape::kVectorBytes;
  if constexpr (Shape::kIntegerScores) {
    load_vector<Shape::kKeys>(machine, Shape::kFactorAt + vector, p.k.factor + slot, 0);
  }
  load_vector<Shape::kKeys>(machine, Shape::kAddendAt + vector, addends_of(p, task.q16) + task.addend_at + key, 1);
}

// V of the same tile, with the vectors of its weights and its product.
template <class Shape, class Machine>
OCTAVO_DEVICE void load_values(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                               std::int32_t key, std::uint32_t stage) {
  const std::int64_t slot = task.first_slot + static_cast<std::uint32_t>(key);
  load_tile<Shape::kValueRowBytes, Shape::kValueRows, Shape::kWarps>(
      machine, Shape::kValuesAt + stage * Shape::kValueBytes,
      static_cast<const std::uint8_t*>(p.v.codes) + slot * Shape::kDim * packed_bytes(Shape::kValues));
  if constexpr (Shape::kIntegerValues) {
    const std::uint32_t vector = stage * Shape::kVectorBytes;
    load_vector<Shape::kKeys>(machine, Shape::kInverseAt + vector,
                              p.k.inverse != nullptr ? p.k.inverse + slot : nullptr, 2);
    load_vector<Shape::kKeys>(machine, Shape::kFoldAt + vector, p.k.fold != nullptr ? p.k.fold + slot : nullptr, 3);
    const float* scale = p.v.column_scale;
    load_vector<Shape::kDim>(machine, Shape::kColumnScaleAt + stage * 4 * Shape::kDim,
                             scale != nullptr ? scale + slot / kPackedRows * Shape::kDim : nullptr, 4);
  }
}

}  // namespace octavo::cuda
