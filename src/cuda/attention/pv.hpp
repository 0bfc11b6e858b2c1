// Second product of one warp: weights [16, kKeys] against a tile of V.
//   O [16, kDim] = alpha O + beta (P V) * column_scale
// Integer products of a tile are exact and are converted once; 16-bit ones accumulate in O itself. FP8 ones, multiplied
// as E4M3 or in f16, have a sum of their own for each tile (SageAttention2's two levels), with 256 channels for each
// half of it; so do those with sums in f16, which a tensor core rounds after every few products.
#pragma once

#include <cstdint>

#include "cuda/attention/softmax.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {

template <class Shape>
constexpr int kOutputRegisters = Shape::kDim / 2;

template <class Shape>
constexpr Mma kPvProduct = Shape::kValues == PackedFormat::s8                           ? Mma::u8s8
                           : Shape::kValues == PackedFormat::e4m3                       ? Mma::e4m3
                           : Shape::kValues == PackedFormat::bf16 || Shape::kPlanes > 1 ? Mma::bf16
                                                                                        : Mma::f16;
// A sum for each tile, which then joins O. (Of f32: a tensor core cuts each sum off at its last digit, and O over
// thousands of keys would lose too much.)
template <class Shape>
constexpr bool kTwoLevels = Shape::kIntegerValues || Shape::kFloat8Values || Shape::kPlanes > 1;
// Recipes may ask for sums in f16 (AttentionKernelParams::f16_sums), which are never those of more than a key block.
template <class Shape>
constexpr bool kF16Sums = Shape::kIntegerScores && (Shape::kFloat8Values || Shape::kValues == PackedFormat::f16);
template <class Shape>
constexpr Mma kF16SumProduct = Shape::kByteValues ? Mma::e4m3_to_f16 : Mma::f16_to_f16;

template <class Shape, class Machine>
OCTAVO_DEVICE void rescale_output(Machine& machine, TileStep<Machine>& step,
                                  Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  if (!machine.any(step.rescale)) return;
  machine.lanes(
      [](int, float(&o)[kOutputRegisters<Shape>], float(&alpha)[2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kOutputRegisters<Shape>; ++i) o[i] *= alpha[i / 2 % 2];
      },
      out, step.alpha);
}

// Adds beta (P V) * column_scale to a lane's O, for its four elements of the eight channels from `channel` on.
template <class Shape, class Machine>
OCTAVO_DEVICE void add_values(const Machine& machine, int lane, int channel, bool column_scales, std::uint32_t stage,
                              const float (&sums)[4], const float (&beta)[2], float (&o)[kOutputRegisters<Shape>]) {
  if (!column_scales) {
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) {
      float& to = o[channel / 2 + i];
      to = __builtin_fmaf(sums[i], beta[i / 2], to);
    }
    return;
  }
  const auto scale = machine.template shared<FloatPair>(
      Shape::kColumnScaleAt + 4 * (stage * Shape::kDim + static_cast<std::uint32_t>(channel + lane % 4 * 2)));
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    // beta first: it divides by R, so that a sum of codes times the scale of values near f32's end stays finite.
    float& to = o[channel / 2 + i];
    to = __builtin_fmaf(sums[i] * beta[i / 2], i % 2 == 0 ? scale.x : scale.y, to);
  }
}

// Number i of a lane's sums.
template <Mma kind, class Machine, int n>
OCTAVO_DEVICE float sum_element(const MmaSum<kind> (&sums)[n], int i) {
  if constexpr (sums_in_f16(kind)) {
    return Machine::from_f16(static_cast<std::uint16_t>(sums[i / 2] >> (16 * (i % 2))));
  } else {
    return float_of_sum(sums[i]);
  }
}

// Sums of the tile for 8 channels by operands of bytes, for 16 by those of 16 bits, each for the planes of the weights.
template <class Shape>
constexpr int kChannelsAtOnce = Shape::kByteValues ? 8 : 16;
template <class Shape, Mma product>
constexpr int kTileSums = kChannelsAtOnce<Shape> / 8 * kSumRegisters<product>;
// Planes of integer weights have sums of their own, those of f32 share one.
template <class Shape>
OCTAVO_INLINE constexpr int sum_planes(int planes) {
  return Shape::kPlanes > 1 ? 1 : planes;
}

// `flips`: codes of V may be stored as u8 (PackedValues::flip). Of 16 bits: keys first..end - 1 of the tile.
template <class Shape, Mma product, int planes, bool flips, int first = 0, int end = Shape::kKeys, class Machine>
OCTAVO_DEVICE void multiply_channels(
    Machine& machine, Registers<Machine, std::uint32_t, planes * kWeightRegisters<Shape>>& weights,
    std::uint32_t values, std::uint32_t flip, int channel,
    Registers<Machine, MmaSum<product>, sum_planes<Shape>(planes) * kTileSums<Shape, product>>& acc) {
  constexpr auto kStart = kSumStart<MmaSum<product>>;
  if constexpr (Shape::kByteValues) {
    OCTAVO_UNROLL
    for (int pair = 0; pair < Shape::kKeys / 64; ++pair) {
      Registers<Machine, std::uint32_t, 4> b;
      machine.template ldmatrix<false>(b, 0, [&](int lane) {
        const auto l = static_cast<std::uint32_t>(lane);
        return values + SharedTile<Shape::kValueRowBytes>::at(static_cast<std::uint32_t>(channel) + l % 8,
                                                              kPairChunks * static_cast<std::uint32_t>(pair) + l / 8);
      });
      if constexpr (flips) {
        machine.lanes(
            [flip](int, std::uint32_t(&codes)[4]) {
              for (int i = 0; i < 4; ++i) codes[i] ^= flip;
            },
            b);
      }
      OCTAVO_UNROLL
      for (int plane = 0; plane < planes; ++plane) {
        // Indices in place: as variables they cost registers on 9.0.
        if (pair == 0) {
          machine.template first_mma<product>(acc, plane * kTileSums<Shape, product>, weights,
                                              plane * kWeightRegisters<Shape>, b, 0, kStart);
        } else {
          machine.template mma<product>(acc, plane * kTileSums<Shape, product>, weights,
                                        plane * kWeightRegisters<Shape> + 8 * pair, b, 0);
        }
        machine.template mma<product>(acc, plane * kTileSums<Shape, product>, weights,
                                      plane * kWeightRegisters<Shape> + 8 * pair + 4, b, 2);
      }
    }
  } else {
    static_assert(planes == Shape::kPlanes);
    OCTAVO_UNROLL
    for (int key = first; key < end; key += 16) {
      OCTAVO_UNROLL
      for (int of_value = planes - 1; of_value >= 0; --of_value) {
        Registers<Machine, std::uint32_t, 4> b;
        machine.template ldmatrix<true>(b, 0, [&](int lane) {
          const auto l = static_cast<std::uint32_t>(lane);
          return values + static_cast<std::uint32_t>(of_value) * Shape::kValuePlaneBytes +
                 SharedTile<Shape::kValueRowBytes>::at(static_cast<std::uint32_t>(key) + l % 16,
                                                       static_cast<std::uint32_t>(channel) / 8 + l / 16);
        });
        // Products below 2^-24 are left out.
        OCTAVO_UNROLL
        for (int of_weight = planes - 1 - of_value; of_weight >= 0; --of_weight) {
          const int a = of_weight * kWeightRegisters<Shape> + key / 4;
          OCTAVO_UNROLL
          for (int tile = 0; tile < 2; ++tile) {
            if (key == first && of_value == planes - 1) {
              machine.template first_mma<product>(acc, kSumRegisters<product> * tile, weights, a, b, 2 * tile, kStart);
            } else {
              machine.template mma<product>(acc, kSumRegisters<product> * tile, weights, a, b, 2 * tile);
            }
          }
        }
      }
    }
  }
}

// With a sum of kind `product` for each tile. Sums of two planes are joined in f32: 256 high + low.
template <class Shape, Mma product, int planes, bool flips, int first = 0, int end = Shape::kKeys, class Machine>
OCTAVO_DEVICE void pv_two_level(Machine& machine,
                                Registers<Machine, std::uint32_t, planes * kWeightRegisters<Shape>>& weights,
                                TileStep<Machine>& step, bool column_scales, std::uint32_t flip, std::uint32_t stage,
                                Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  constexpr int kChannels = kChannelsAtOnce<Shape>, kSums = kTileSums<Shape, product>;
  const std::uint32_t values = Shape::kValuesAt + stage * Shape::kValueBytes;
  OCTAVO_UNROLL
  for (int channel = 0; channel < Shape::kDim; channel += kChannels) {
    Registers<Machine, MmaSum<product>, sum_planes<Shape>(planes) * kSums> acc;
    multiply_channels<Shape, product, planes, flips, first, end>(machine, weights, values, flip, channel, acc);
    // As in qk_tile(): operands of FP8 scores and of three planes leave no registers for loads ahead of their time.
    if (Shape::kDim == 128 && !Shape::kQueryInRegisters) machine.sync_warp();
    machine.lanes(
        [&](int lane, MmaSum<product>(&sums)[sum_planes<Shape>(planes) * kSums], float(&beta)[2],
            float(&o)[kOutputRegisters<Shape>]) {
          const auto sum = [&](int i) {
            const float of_high = sum_element<product, Machine>(sums, i);
            if constexpr (sum_planes<Shape>(planes) == 1) return of_high;
            return __builtin_fmaf(of_high, 256.0f, sum_element<product, Machine>(sums, i + kSums));
          };
          OCTAVO_UNROLL
          for (int i = 0; i < kChannels / 2; i += 4) {
            const float of_channels[4] = {sum(i), sum(i + 1), sum(i + 2), sum(i + 3)};
            add_values<Shape>(machine, lane, channel + 2 * i, column_scales, stage, of_channels, beta, o);
          }
        },
        acc, step.beta, out);
  }
}

// O is the sum.
template <class Shape, class Machine>
OCTAVO_DEVICE void pv_one_level(Machine& machine, Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                                std::uint32_t stage, Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  constexpr Mma kProduct = kPvProduct<Shape>;
  const std::uint32_t values = Shape::kValuesAt + stage * Shape::kValueBytes;
  OCTAVO_UNROLL
  for (int key = 0; key < Shape::kKeys; key += 16) {
    OCTAVO_UNROLL
    for (int channel = 0; channel < Shape::kDim; channel += 16) {
      Registers<Machine, std::uint32_t, 4> b;
      machine.template ldmatrix<true>(b, 0, [&](int lane) {
        const auto l = static_cast<std::uint32_t>(lane);
        return values + SharedTile<Shape::kValueRowBytes>::at(static_cast<std::uint32_t>(key) + l % 16,
                                                              static_cast<std::uint32_t>(channel) / 8 + l / 16);
      });
      machine.template mma<kProduct>(out, channel / 2, weights, key / 4, b, 0);
      machine.template mma<kProduct>(out, channel / 2 + 4, weights, key / 4, b, 2);
    }
  }
}

}  // namespace octavo::cuda
