// Copies tiles and vectors of packed operands from global into shared memory; all warps of a block take part. Of Q each
// warp copies its own rows.
#pragma once

#include <cstdint>

#include "cuda/attention/task.hpp"
#include "cuda/attention/tile_shape.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {

// `kTileRows` rows of kRowBytes, dense in global memory, into the tile at `to`. Unless all of them are there, rows from
// `rows` on become zeros. By all kWarps warps of the block, or by each one for itself.
template <std::uint32_t kRowBytes, std::uint32_t kTileRows, int kWarps, bool all_there = true, class Machine>
OCTAVO_DEVICE void load_tile(Machine& machine, std::uint32_t to, const void* from, std::uint32_t rows = kTileRows) {
  using Tile = SharedTile<kRowBytes>;
  constexpr std::uint32_t kAll = kTileRows * Tile::kChunks, kStep = kWarps * kLanes;
  // A lane keeps its chunk, and mostly its place in the swizzle, from step to step: its addresses differ by constants.
  static_assert(kStep % Tile::kChunks == 0);
  constexpr bool kSamePlace = kStep / Tile::kChunks % 8 == 0;
  const auto first = static_cast<std::uint32_t>(kWarps == 1 ? 0 : machine.warp() * kLanes);
  OCTAVO_UNROLL
  for (std::uint32_t i = 0; i < kAll; i += kStep) {
    machine.copy16([&](int lane) {
      const std::uint32_t index = first + static_cast<std::uint32_t>(lane), chunk = index % Tile::kChunks;
      const std::uint32_t first_row = index / Tile::kChunks, row = first_row + i / Tile::kChunks;
      const bool nothing = kAll % kStep != 0 && row >= kTileRows;
      const bool zeros = !all_there && row >= rows;
      const auto* source = static_cast<const std::uint8_t*>(from) + index * kChunkBytes;
      const std::uint32_t at =
          kSamePlace ? Tile::at(first_row, chunk) + i / Tile::kChunks * kRowBytes : Tile::at(row, chunk);
      return CopyItem{to + at, source + i * kChunkBytes,
                      nothing ? CopyWhat::nothing
                      : zeros ? CopyWhat::zeros
                              : CopyWhat::bytes};
    });
  }
}

// `kFloats` f32 into the vector at `to`, by warp `by` alone.
template <int kFloats, int kWarps, class Machine>
OCTAVO_DEVICE void load_vector(Machine& machine, std::uint32_t to, const float* from, int by) {
  static_assert(kFloats % 4 == 0);
  if (machine.warp() != by % kWarps) return;
  OCTAVO_UNROLL
  for (int i = 0; i < kFloats / 4; i += kLanes) {
    machine.copy16([&](int lane) {
      const int chunk = i + lane;
      return CopyItem{to + static_cast<std::uint32_t>(chunk) * kChunkBytes, from + 4 * chunk,
                      chunk < kFloats / 4 ? CopyWhat::bytes : CopyWhat::nothing};
    });
  }
}

// 16-bit Q has fewer than 16 rows: its low plane takes the place of the 16 rows behind.
constexpr std::uint32_t kQ16Rows = 16;
template <class Shape>
constexpr std::uint32_t kLowQueryAt = Shape::kQueryAt + kQ16Rows * Shape::kRowBytes;

// The 16 rows of a warp, `task` its own.
template <class Shape, class Machine>
OCTAVO_DEVICE void load_queries(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task, bool q16) {
  const std::int32_t left = task.q_rows - task.first_row;
  const auto rows = static_cast<std::uint32_t>(left > 0 ? left : 0);
  if (q16 && rows == 0) return;  // a low plane is there
  const std::int64_t first = row_of_plane<Shape::kPlanes>(task.packed_row, 0) * Shape::kRowBytes;
  const auto own = static_cast<std::uint32_t>(machine.warp()) * 16 * Shape::kRowBytes;
  const auto load = [&](std::uint32_t to, const void* codes, std::int64_t at) {
    load_tile<Shape::kRowBytes, 16, 1, false>(machine, to + own, static_cast<const std::uint8_t*>(codes) + at, rows);
  };
  OCTAVO_UNROLL
  for (std::uint32_t plane = 0; plane < Shape::kPlanes; ++plane) {
    load(Shape::kQueryAt + plane * Shape::kQueryPlaneBytes, p.q.codes, first + plane * kPackedRows * Shape::kRowBytes);
  }
  if (q16) load(kLowQueryAt<Shape>, p.q.codes_low, first);
}

// K of the tile that begins at slot `slot` of the packed K into stage `stage`: its rows first..end - 1. The vectors of
// its scores come with the first.
template <class Shape, std::uint32_t first = 0, std::uint32_t end = Shape::kKeys, class Machine>
OCTAVO_DEVICE void load_key_tile(Machine& machine, const AttentionKernelParams& p, std::int64_t slot,
                                 const float* addends, std::uint32_t stage) {
  const auto* codes =
      static_cast<const std::uint8_t*>(p.k.codes) + row_of_plane<Shape::kPlanes>(slot, 0) * Shape::kRowBytes;
  OCTAVO_UNROLL
  for (std::uint32_t plane = 0; plane < Shape::kPlanes; ++plane) {
    load_tile<Shape::kRowBytes, end - first, Shape::kWarps>(
        machine, Shape::kKeysAt + stage * Shape::kKeyBytes + plane * Shape::kKeyPlaneBytes + first * Shape::kRowBytes,
        codes + (plane * kPackedRows + first) * Shape::kRowBytes);
  }
  if constexpr (first > 0) return;
  const std::uint32_t vector = stage * Shape::kVectorBytes;
  if constexpr (Shape::kScaledScores) {
    load_vector<Shape::kKeys, Shape::kWarps>(machine, Shape::kFactorAt + vector, p.k.factor + slot, 0);
  }
  load_vector<Shape::kKeys, Shape::kWarps>(machine, Shape::kAddendAt + vector, addends, 1);
}

// V of the same tile, with the vectors of its weights and its product.
template <class Shape, AttentionVariant variant, std::uint32_t first = 0, std::uint32_t end = Shape::kValueRows,
          class Machine>
OCTAVO_DEVICE void load_value_tile(Machine& machine, const AttentionKernelParams& p, std::int64_t slot,
                                   std::uint32_t stage) {
  constexpr std::int64_t kKeyBytes = Shape::kDim * (Shape::kByteValues ? 1 : 2);  // of a plane
  const auto* codes = static_cast<const std::uint8_t*>(p.v.codes) + row_of_plane<Shape::kPlanes>(slot, 0) * kKeyBytes;
  OCTAVO_UNROLL
  for (std::uint32_t plane = 0; plane < Shape::kPlanes; ++plane) {
    load_tile<Shape::kValueRowBytes, end - first, Shape::kWarps>(
        machine,
        Shape::kValuesAt + stage * Shape::kValueBytes + plane * Shape::kValuePlaneBytes + first * Shape::kValueRowBytes,
        codes + plane * kPackedRows * kKeyBytes + first * Shape::kValueRowBytes);
  }
  if constexpr (first > 0) return;
  if constexpr (Shape::kIntegerValues) {
    const std::uint32_t vector = stage * Shape::kVectorBytes;
    if (is_folded(variant) || p.k.inverse != nullptr) {
      load_vector<Shape::kKeys, Shape::kWarps>(machine, Shape::kInverseAt + vector, p.k.inverse + slot, 2);
    }
    if (modifies_scores(variant) && p.k.fold != nullptr) {
      load_vector<Shape::kKeys, Shape::kWarps>(machine, Shape::kFoldAt + vector, p.k.fold + slot, 3);
    }
  }
  if constexpr (Shape::kBlockScales && !is_folded(variant)) {
    if (p.v.column_scale != nullptr) {
      load_vector<Shape::kDim, Shape::kWarps>(machine, Shape::kColumnScaleAt + stage * 4 * Shape::kDim,
                                              p.v.column_scale + slot / kPackedRows * Shape::kDim, 4);
    }
  }
}

}  // namespace octavo::cuda
