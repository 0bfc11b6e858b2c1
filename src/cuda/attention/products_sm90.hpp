// The two products of a warpgroup by wgmma, asynchronous, and what becomes of their sums.
//   S [64, kKeys] = Q K^T     Q and K in shared memory
//   [64, kDim] = P V          P in registers; V in shared memory, of bytes transposed; kSliceChannels at a time
#pragma once

#include <cstdint>

#include "cuda/attention/pv.hpp"
#include "cuda/attention/qk.hpp"
#include "cuda/attention/softmax.hpp"
#include "cuda/tile/machine_sm90.hpp"

namespace octavo::cuda {

template <class Machine, class Shape>
using QkSums = Registers<Machine, MmaSum<kQkProduct<Shape>>, Shape::kKeys / 2>;
// Codes of V are stored as u8 (add_integer_values()).
template <class Shape>
constexpr Mma kPvProductSm90 = Shape::kIntegerValues ? Mma::u8u8
                               : Shape::kSumsInF16   ? kF16SumProduct<Shape>
                                                     : kPvProduct<Shape>;
template <class Machine, class Shape>
using PvSums =
    Registers<Machine, MmaSum<kPvProductSm90<Shape>>, kWgmmaSums<kPvProductSm90<Shape>, Shape::kSliceChannels>>;
template <class Shape>
constexpr int kSlices = Shape::kDim / Shape::kSliceChannels;

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

// `pv`: sums of the tile, which start at 0, or O, to which they are added (kTwoLevels); of the channels from `channel`
// on.
template <class Shape, class Machine>
OCTAVO_DEVICE void multiply_pv(Machine& machine, Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                               std::uint32_t stage, int channel, PvSums<Machine, Shape>& pv) {
  using ValueTile = typename Shape::ValueTile;
  constexpr bool kTransposed = kTransposesValues<Shape>;
  constexpr std::uint32_t kStepKeys = kTransposed ? 16 : 32;
  static_assert(kSlices<Shape> == 1 || !kTransposed);
  const std::uint64_t values =
      advance(values_matrix<Shape>(machine),
              stage * ValueTile::kBytes + static_cast<std::uint32_t>(channel) * ValueTile::kPanelRowBytes);
  OCTAVO_UNROLL
  for (std::uint32_t step = 0; step < Shape::kKeys / kStepKeys; ++step) {
    const std::uint32_t key = step * kStepKeys;
    machine.template wgmma<kPvProductSm90<Shape>, Shape::kSliceChannels, kTransposed>(
        pv, weights, static_cast<int>(4 * step),
        advance(values, kTransposed ? key * ValueTile::kPanelRowBytes : ValueTile::at(key)),
        !kTwoLevels<Shape> || step > 0);
  }
}

// T of a tile, as scale_16_keys() has it.
template <class Shape, class Machine>
OCTAVO_DEVICE void scale_scores(Machine& machine, QkSums<Machine, Shape>& s, std::uint32_t stage,
                                std::uint32_t own_addends, Registers<Machine, float, 2>& query_factor,
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
    scale_16_keys<Shape>(machine, sums, slot, stage, own_addends, query_factor, scores);
    // As in qk_tile(): without it masked tiles spill more.
    if (Shape::kDim == 128 && slot == 48) machine.sync_warp();
  }
}

// O += beta (P V) * column_scale, of sums in floats.
template <class Shape, class Machine>
OCTAVO_DEVICE void add_values_tile(Machine& machine, PvSums<Machine, Shape>& pv, bool column_scales,
                                   std::uint32_t stage, TileStep<Machine>& step,
                                   Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  static_assert(kSlices<Shape> == 1);
  constexpr int kSums = kWgmmaSums<kPvProductSm90<Shape>, Shape::kDim>;
  machine.lanes(
      [&](int lane, MmaSum<kPvProductSm90<Shape>>(&from)[kSums], float(&beta)[2], float(&o)[kOutputRegisters<Shape>]) {
        OCTAVO_UNROLL
        for (int channel = 0; channel < Shape::kDim; channel += 8) {
          const auto sum = [&](int i) { return sum_element<kPvProductSm90<Shape>, Machine>(from, channel / 2 + i); };
          const float sums[4] = {sum(0), sum(1), sum(2), sum(3)};
          add_values<Shape>(machine, lane, channel, column_scales, stage, sums, beta, o);
        }
      },
      pv, step.beta, out);
}

// Of integers. V's codes are stored as u8, each 128 more than it is: the sums of products are then whole numbers from 0
// to 255 * 255 * 128 < 2^23, whose bits are those of an f32, the number times 2^-149, and need no conversion. beta
// times 2^149 would leave f32's range: O is held times kHeldUnit during the loop.
constexpr float kHeldUnit = 0x1p-64f, kOfSum = 0x1p85f;  // 2^-149 kOfSum = kHeldUnit
static_assert(255 * 255 * kPackedRows < 1 << 23);

// What the 128 added to every code of V adds to a row's O, in each channel the same: a lane's share of it. Over many
// keys it outgrows O, which would lose its digits: it is taken off every kExcessKeys keys.
template <class Machine>
using ExcessOfRows = Registers<Machine, float, 2>;
constexpr std::int32_t kExcessKeys = 1024;

// The sum of a lane's weights, by row. With column scales the whole row's; without, O is held in its unit, and the
// excess counts them and alpha.
template <class Shape, class Machine>
OCTAVO_DEVICE void sum_weights(Machine& machine, Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                               bool column_scales, TileStep<Machine>& step, ExcessOfRows<Machine>& excess,
                               Registers<Machine, float, 2>& totals) {
  machine.lanes(
      [](int, std::uint32_t(&packed)[kWeightRegisters<Shape>], float(&total)[2]) {
        std::uint32_t sum[2] = {0, 0};
        OCTAVO_UNROLL
        for (int i = 0; i < kWeightRegisters<Shape>; ++i) sum[i % 2] = Machine::add_bytes(packed[i], sum[i % 2]);
        for (int i = 0; i < 2; ++i) total[i] = static_cast<float>(static_cast<std::int32_t>(sum[i]));
      },
      weights, totals);
  if (column_scales) return sum_over<4>(machine, totals);
  machine.lanes(
      [](int, float(&total)[2], float(&alpha)[2], float(&beta)[2], float(&more)[2]) {
        for (int i = 0; i < 2; ++i) {
          more[i] = __builtin_fmaf(total[i], beta[i] * (128 * kHeldUnit), more[i] * alpha[i]);
        }
      },
      totals, step.alpha, step.beta, excess);
}

// O += beta (P V) * column_scale, of the channels from `first` on. `totals`: sum_weights().
template <class Shape, class Machine>
OCTAVO_DEVICE void add_integer_values(Machine& machine, PvSums<Machine, Shape>& pv, int first,
                                      Registers<Machine, float, 2>& totals, bool column_scales, std::uint32_t stage,
                                      TileStep<Machine>& step,
                                      Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  constexpr int kSums = Shape::kSliceChannels / 2;
  if (column_scales) {
    machine.lanes(
        [&](int lane, std::int32_t(&from)[kSums], float(&total)[2], float(&beta)[2],
            float(&o)[kOutputRegisters<Shape>]) {
          OCTAVO_UNROLL
          for (int channel = 0; channel < Shape::kSliceChannels; channel += 8) {
            float sums[4];
            OCTAVO_UNROLL
            for (int i = 0; i < 4; ++i) {
              sums[i] = static_cast<float>(from[channel / 2 + i]) - 128 * total[i / 2];  // exactly
            }
            add_values<Shape>(machine, lane, first + channel, true, stage, sums, beta, o);
          }
        },
        pv, totals, step.beta, out);
    return;
  }
  machine.lanes(
      [first](int, std::int32_t(&sums)[kSums], float(&beta)[2], float(&o)[kOutputRegisters<Shape>]) {
        const float of_sum[2] = {beta[0] * kOfSum, beta[1] * kOfSum};
        OCTAVO_UNROLL
        for (int i = 0; i < kSums; ++i) {
          float& to = o[first / 2 + i];
          to = __builtin_fmaf(f32_of_bits(static_cast<std::uint32_t>(sums[i])), of_sum[i / 2 % 2], to);
        }
      },
      pv, step.beta, out);
}

// Takes the excess off O, which stays held.
template <class Shape, class Machine>
OCTAVO_DEVICE void take_excess(Machine& machine, ExcessOfRows<Machine>& excess,
                               Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  sum_over<4>(machine, excess);
  machine.lanes(
      [](int, float(&more)[2], float(&o)[kOutputRegisters<Shape>]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kOutputRegisters<Shape>; ++i) o[i] -= more[i / 2 % 2];
        more[0] = more[1] = 0;
      },
      excess, out);
}

// O as it is.
template <class Shape, class Machine>
OCTAVO_DEVICE void release_output(Machine& machine, Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  machine.lanes(
      [](int, float(&o)[kOutputRegisters<Shape>]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kOutputRegisters<Shape>; ++i) o[i] *= 1 / kHeldUnit;
      },
      out);
}

}  // namespace octavo::cuda
