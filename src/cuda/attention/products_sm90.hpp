// The two products of a warpgroup by wgmma, asynchronous, and what becomes of their sums.
//   S [64, kKeys] = Q K^T     Q and K in shared memory
//   [64, kDim] = P V          P in registers; V in shared memory, of bytes transposed
#pragma once

#include <cstdint>

#include "cuda/attention/pv.hpp"
#include "cuda/attention/qk.hpp"
#include "cuda/attention/softmax.hpp"
#include "cuda/tile/machine_sm90.hpp"

namespace octavo::cuda {

template <class Machine, class Shape>
using QkSums = Registers<Machine, MmaSum<kQkProduct<Shape>>, Shape::kKeys / 2>;
template <class Shape>
constexpr Mma kPvProductSm90 = Shape::kSumsInF16 ? kF16SumProduct<Shape> : kPvProduct<Shape>;
template <class Machine, class Shape>
using PvSums = Registers<Machine, MmaSum<kPvProductSm90<Shape>>, kWgmmaSums<kPvProductSm90<Shape>, Shape::kDim>>;

template <class Shape, class Machine>
OCTAVO_DEVICE void multiply_qk(Machine& machine, std::uint32_t stage, QkSums<Machine, Shape>& s) {
  const auto group = static_cast<std::uint32_t>(machine.warp() / 4);
  using QueryTile = typename Shape::QueryTile;
  using KeyTile = typename Shape::KeyTile;
  const std::uint64_t queries =
      advance(machine.matrix(Shape::kQueryAt, QueryTile::kSwizzle), group * kWarpgroupRows * QueryTile::kPanelRowBytes);
  const std::uint64_t keys = advance(machine.matrix(Shape::kKeysAt, KeyTile::kSwizzle), stage * KeyTile::kBytes);
  OCTAVO_UNROLL
  for (std::uint32_t byte = 0; byte < Shape::kRowBytes; byte += kWgmmaDepthBytes) {
    machine.template wgmma<kQkProduct<Shape>, Shape::kKeys>(s, advance(queries, QueryTile::at(byte)),
                                                            advance(keys, KeyTile::at(byte)), byte > 0);
  }
}

// V's tile in stage 0: of bytes with keys as its depth, of 16 bits with channels side by side, transposed by the
// product.
template <class Shape>
constexpr bool kTransposesValues = !Shape::kByteValues;
template <class Shape, class Machine>
OCTAVO_DEVICE std::uint64_t values_matrix(const Machine& machine) {
  using ValueTile = typename Shape::ValueTile;
  constexpr Swizzle kSwizzle = ValueTile::kSwizzle;
  if constexpr (kTransposesValues<Shape>) {
    return machine.matrix(Shape::kValuesAt, kSwizzle, atom_bytes(kSwizzle), ValueTile::kPanelBytes);
  } else {
    return machine.matrix(Shape::kValuesAt, kSwizzle);
  }
}

// `pv`: sums of the tile, which start at 0, or O, to which they are added (kTwoLevels).
template <class Shape, class Machine>
OCTAVO_DEVICE void multiply_pv(Machine& machine, Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                               std::uint32_t stage, PvSums<Machine, Shape>& pv) {
  using ValueTile = typename Shape::ValueTile;
  constexpr bool kTransposed = kTransposesValues<Shape>;
  constexpr std::uint32_t kStepKeys = kTransposed ? 16 : 32;
  const std::uint64_t values = advance(values_matrix<Shape>(machine), stage * ValueTile::kBytes);
  OCTAVO_UNROLL
  for (std::uint32_t step = 0; step < Shape::kKeys / kStepKeys; ++step) {
    const std::uint32_t key = step * kStepKeys;
    machine.template wgmma<kPvProductSm90<Shape>, Shape::kDim, kTransposed>(
        pv, weights, static_cast<int>(4 * step),
        advance(values, kTransposed ? key * ValueTile::kPanelRowBytes : ValueTile::at(key)),
        !kTwoLevels<Shape> || step > 0);
  }
}

// T of a tile, as scale_16_keys() has it.
template <class Shape, class Machine>
OCTAVO_DEVICE void scale_scores(Machine& machine, QkSums<Machine, Shape>& s, std::uint32_t stage,
                                Registers<Machine, float, 2>& query_factor,
                                Registers<Machine, float, Shape::kKeys / 2>& scores) {
  OCTAVO_UNROLL
  for (int slot = 0; slot < Shape::kKeys; slot += 16) {
    Registers<Machine, float, 8> sums;
    machine.lanes(
        [&](int, MmaSum<kQkProduct<Shape>>(&from)[Shape::kKeys / 2], float(&to)[8]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 8; ++i) to[i] = static_cast<float>(from[slot / 2 + i]);
        },
        s, sums);
    scale_16_keys<Shape>(machine, sums, slot, stage, query_factor, scores);
  }
}

// Number i of a lane's sums of P V, which start at 0.
template <class Shape, class Machine, int n>
OCTAVO_DEVICE float pv_sum(const MmaSum<kPvProductSm90<Shape>> (&sums)[n], int i) {
  if constexpr (Shape::kSumsInF16) {
    return sum_element<kPvProductSm90<Shape>, Machine>(sums, i);
  } else {
    return static_cast<float>(sums[i]);
  }
}

// O += beta (P V) * column_scale.
template <class Shape, class Machine>
OCTAVO_DEVICE void add_values_tile(Machine& machine, PvSums<Machine, Shape>& pv, bool column_scales,
                                   std::uint32_t stage, TileStep<Machine>& step,
                                   Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  constexpr int kSums = kWgmmaSums<kPvProductSm90<Shape>, Shape::kDim>;
  machine.lanes(
      [&](int lane, MmaSum<kPvProductSm90<Shape>>(&from)[kSums], float(&beta)[2], float(&o)[kOutputRegisters<Shape>]) {
        OCTAVO_UNROLL
        for (int channel = 0; channel < Shape::kDim; channel += 8) {
          const auto sum = [&](int i) { return pv_sum<Shape, Machine>(from, channel / 2 + i); };
          const float sums[4] = {sum(0), sum(1), sum(2), sum(3)};
          add_values<Shape>(machine, lane, channel, column_scales, stage, sums, beta, o);
        }
      },
      pv, step.beta, out);
}

}  // namespace octavo::cuda
