// Tile sizes of join_kept_keys() and where each tile lies in shared memory.
#pragma once

#include <cstdint>

#include "cuda/attention/tile_shape.hpp"
#include "cuda/tile/fragments.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo::cuda {

// Shared memory: planes of each warp's 16 rows of Q, stages of 16 keys of K and V that all warps read, then f32 NaN or
// 0 for each row of Q and each key of the stages' K and V, and the near keys of each warp's rows.
template <int dim, DType numbers>
struct KeptShape {
  static constexpr int kDim = dim;
  static constexpr DType kNumbers = numbers;  // f32: of any dtype
  static constexpr bool kF16 = numbers == DType::f16;
  static constexpr Mma kProduct = kF16 ? Mma::f16 : Mma::bf16;
  static constexpr int kPlanes = numbers == DType::f32 ? 3 : 1;
  static constexpr int kWeightPlanes = kPlanes == 1 ? 2 : 3;
  static constexpr std::uint32_t kRowBytes = 2 * kDim;
  static constexpr std::uint32_t kPlaneBytes = 16 * kRowBytes, kTileBytes = kPlanes * kPlaneBytes;
  static constexpr std::uint32_t kRowsOfUnit = 4, kUnits = 8;  // K and V of a stage, by parts that a warp loads
  static constexpr std::uint32_t kWarpBytes = kTileBytes + 16 * 4 + 8, kStageBytes = 2 * (kTileBytes + 16 * 4);

  // As many warps as fit with two stages, else with one: what they share is read once.
  OCTAVO_INLINE constexpr bool fits(std::uint32_t warps, std::uint32_t stages) {
    return warps * kWarpBytes + stages * kStageBytes <= kMostSharedBytes;
  }
  static constexpr int kWarps = fits(8, 2) ? 8 : fits(4, 2) ? 4 : 2;
  static constexpr std::uint32_t kStages = fits(kWarps, 2) ? 2 : 1;
  static_assert(fits(kWarps, kStages));
  static constexpr int kRows = 16 * kWarps;
  static constexpr int kBlocks = kPlanes == 1 && kDim <= 128 ? 2 : 1;  // that share a multiprocessor's registers

  static constexpr std::uint32_t kQueriesAt = 0, kStagesAt = kWarps * kTileBytes;
  static constexpr std::uint32_t kFlagsAt = kStagesAt + kStages * 2 * kTileBytes;
  static constexpr std::uint32_t kKeyFlagsAt = kFlagsAt + kRows * 4;  // [kStages][K, V][16]
  static constexpr std::uint32_t kSpansAt = kKeyFlagsAt + kStages * 2 * 16 * 4;
  static constexpr std::uint32_t kBytes = kSpansAt + kWarps * 8;
  static_assert(kBytes == kWarps * kWarpBytes + kStages * kStageBytes);
};
template <class Shape>
constexpr AttentionLaunch kept_launch() {
  return {32 * Shape::kWarps, Shape::kRows, Shape::kBytes};
}

}  // namespace octavo::cuda
