// Tiles and vectors on their way from packed operands in global memory into shared memory, all warps of a block
// together.
#pragma once

#include <cstdint>

#include "cuda/ops/task.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {

// `kTileRows` rows of kRowBytes, dense in global memory, into the tile at `to`. Rows from `rows` on become zeros.
template <std::uint32_t kRowBytes, std::uint32_t kTileRows, int kWarps, class Machine>
OCTAVO_DEVICE void load_tile(Machine& machine, std::uint32_t to, const void* from, std::uint32_t rows = kTileRows) {
  using Tile = SharedTile<kRowBytes>;
  constexpr std::uint32_t kAll = kTileRows * Tile::kChunks, kStep = kWarps * kLanes;
  static_assert(kAll % kStep == 0);
  const auto first = static_cast<std::uint32_t>(machine.warp() * kLanes);
  OCTAVO_UNROLL
  for (std::uint32_t i = 0; i < kAll; i += kStep) {
    machine.copy16([&](int lane) {
      const std::uint32_t index = i + first + static_cast<std::uint32_t>(lane);
      const std::uint32_t row = index / Tile::kChunks, chunk = index % Tile::kChunks;
      return CopyItem{to + Tile::at(row, chunk), static_cast<const std::uint8_t*>(from) + index * kChunkBytes,
                      row < rows ? CopyWhat::bytes : CopyWhat::zeros};
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

// K of the tile that begins at key `key` of the task's sequence, with its vectors, into stage `stage`.
template <class Shape, class Machine>
OCTAVO_DEVICE void load_keys(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                             std::int64_t key, std::uint32_t stage) {
  const std::int64_t slot = task.first_key_block * kPackedRows + key;
  load_tile<Shape::kRowBytes, Shape::kKeys, Shape::kWarps>(
      machine, Shape::kKeysAt + stage * Shape::kKeyBytes,
      static_cast<const std::uint8_t*>(p.k.codes) + slot * Shape::kRowBytes);
  const std::uint32_t vector = stage * Shape::kVectorBytes;
  if constexpr (Shape::kIntegerScores) {
    load_vector<Shape::kKeys>(machine, Shape::kFactorAt + vector, p.k.factor + slot, 0);
  }
  load_vector<Shape::kKeys>(machine, Shape::kAddendAt + vector,
                            task.correction != nullptr ? task.correction + key : p.k.addend + slot, 1);
  if constexpr (Shape::kIntegerValues) {
    load_vector<Shape::kKeys>(machine, Shape::kInverseAt + vector,
                              p.k.inverse != nullptr ? p.k.inverse + slot : nullptr, 2);
    load_vector<Shape::kKeys>(machine, Shape::kFoldAt + vector, p.k.fold != nullptr ? p.k.fold + slot : nullptr, 3);
  }
}

// V of the same tile.
template <class Shape, class Machine>
OCTAVO_DEVICE void load_values(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                               std::int64_t key, std::uint32_t stage) {
  const std::int64_t slot = task.first_key_block * kPackedRows + key;
  load_tile<Shape::kValueRowBytes, Shape::kValueRows, Shape::kWarps>(
      machine, Shape::kValuesAt + stage * Shape::kValueBytes,
      static_cast<const std::uint8_t*>(p.v.codes) + slot * Shape::kDim * packed_bytes(Shape::kValues));
  if constexpr (Shape::kIntegerValues) {
    const float* scale = p.v.column_scale;
    load_vector<Shape::kDim>(machine, Shape::kColumnScaleAt + stage * 4 * Shape::kDim,
                             scale != nullptr ? scale + slot / kPackedRows * Shape::kDim : nullptr, 4);
  }
}

}  // namespace octavo::cuda
