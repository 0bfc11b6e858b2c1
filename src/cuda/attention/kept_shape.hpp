// Tile sizes of join_kept_keys() and where each tile lies in shared memory.
#pragma once

#include <cstdint>

#include "cuda/attention/tile_shape.hpp"
#include "cuda/tile/fragments.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo::cuda {

// Shared memory of each warp: planes of Q, K and V [16][kDim], then f32 [2][16] for rows and keys that are not finite.
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
  static constexpr std::uint32_t kKeysAt = kTileBytes, kValuesAt = 2 * kTileBytes, kNonfiniteAt = 3 * kTileBytes;
  static constexpr std::uint32_t kWarpBytes = kNonfiniteAt + 128;
  static constexpr std::uint32_t kFitting = kMostSharedBytes / kWarpBytes;
  static constexpr int kWarps = kFitting >= 8 ? 8 : kFitting >= 4 ? 4 : kFitting >= 2 ? 2 : 1;
  static constexpr int kRows = 16 * kWarps;
  static constexpr std::uint32_t kBytes = static_cast<std::uint32_t>(kWarps) * kWarpBytes;
};
template <class Shape>
constexpr AttentionLaunch kept_launch() {
  return {32 * Shape::kWarps, Shape::kRows, Shape::kBytes};
}

}  // namespace octavo::cuda
