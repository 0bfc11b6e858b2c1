// Second product of one warp: weights [16, kKeys] against a tile of V.
//   O [16, kDim] = alpha O + beta (P V) * column_scale
// Integer products of a tile are exact and are converted once; 16-bit ones accumulate in O itself. FP8 ones have a sum
// of their own for each tile (SageAttention2's two levels), numbers of E4M3 multiplied in f16; so do those with sums in
// f16, which a tensor core rounds after every few products.
#pragma once

#include <cstdint>

#include "cuda/attention/softmax.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {

template <class Shape>
constexpr int kOutputRegisters = Shape::kDim / 2;

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

template <class Shape, class Machine>
OCTAVO_DEVICE void pv_integer(Machine& machine, Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                              TileStep<Machine>& step, bool column_scales, std::uint32_t stage,
                              Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  const std::uint32_t values = Shape::kValuesAt + stage * Shape::kValueBytes;
  OCTAVO_UNROLL
  for (int channel = 0; channel < Shape::kDim; channel += 8) {
    Registers<Machine, std::int32_t, 4> acc;
    OCTAVO_UNROLL
    for (int pair = 0; pair < Shape::kKeys / 64; ++pair) {
      Registers<Machine, std::uint32_t, 4> b;
      machine.template ldmatrix<false>(b, 0, [&](int lane) {
        const auto l = static_cast<std::uint32_t>(lane);
        return values + SharedTile<Shape::kValueRowBytes>::at(static_cast<std::uint32_t>(channel) + l % 8,
                                                              kPairChunks * static_cast<std::uint32_t>(pair) + l / 8);
      });
      if (pair == 0) {
        machine.template first_mma<Mma::u8s8>(acc, 0, weights, 0, b, 0, kSumStart<std::int32_t>);
      } else {
        machine.template mma<Mma::u8s8>(acc, 0, weights, 8 * pair, b, 0);
      }
      machine.template mma<Mma::u8s8>(acc, 0, weights, 8 * pair + 4, b, 2);
    }
    machine.lanes(
        [&](int lane, std::int32_t(&sum)[4], float(&beta)[2], float(&o)[kOutputRegisters<Shape>]) {
          if (!column_scales) {
            OCTAVO_UNROLL
            for (int i = 0; i < 4; ++i) {
              float& to = o[channel / 2 + i];
              to = __builtin_fmaf(float_of_sum(sum[i]), beta[i / 2], to);
            }
            return;
          }
          const auto scale = machine.template shared<FloatPair>(
              Shape::kColumnScaleAt + 4 * (stage * Shape::kDim + static_cast<std::uint32_t>(channel + lane % 4 * 2)));
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) {
            // beta first: it divides by R, so that a sum of codes times the scale of values near f32's end stays
            // finite.
            const float x = float_of_sum(sum[i]) * beta[i / 2];
            float& to = o[channel / 2 + i];
            to = __builtin_fmaf(x, i % 2 == 0 ? scale.x : scale.y, to);
          }
        },
        acc, step.beta, out);
  }
}

// Number i of a lane's sums.
template <Mma kind, class Machine, int n>
OCTAVO_DEVICE float sum_element(const MmaSum<kind> (&sums)[n], int i) {
  if constexpr (sums_in_f16(kind)) {
    return Machine::from_f16(static_cast<std::uint16_t>(sums[i / 2] >> (16 * (i % 2))));
  } else {
    return sums[i];
  }
}

// Operands of 16 bits, with a sum of kind `product` for each tile.
template <class Shape, Mma product, class Machine>
OCTAVO_DEVICE void pv_two_level(Machine& machine, Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                                TileStep<Machine>& step, std::uint32_t stage,
                                Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  constexpr int kSums = kSumRegisters<product>;
  const std::uint32_t values = Shape::kValuesAt + stage * Shape::kValueBytes;
  OCTAVO_UNROLL
  for (int channel = 0; channel < Shape::kDim; channel += 16) {
    Registers<Machine, MmaSum<product>, 2 * kSums> acc;
    OCTAVO_UNROLL
    for (int key = 0; key < Shape::kKeys; key += 16) {
      Registers<Machine, std::uint32_t, 4> b;
      machine.template ldmatrix<true>(b, 0, [&](int lane) {
        const auto l = static_cast<std::uint32_t>(lane);
        return values + SharedTile<Shape::kValueRowBytes>::at(static_cast<std::uint32_t>(key) + l % 16,
                                                              static_cast<std::uint32_t>(channel) / 8 + l / 16);
      });
      OCTAVO_UNROLL
      for (int tile = 0; tile < 2; ++tile) {
        if (key == 0) {
          machine.template first_mma<product>(acc, kSums * tile, weights, 0, b, 2 * tile, kSumStart<MmaSum<product>>);
        } else {
          machine.template mma<product>(acc, kSums * tile, weights, key / 4, b, 2 * tile);
        }
      }
    }
    machine.lanes(
        [&](int, MmaSum<product>(&sums)[2 * kSums], float(&beta)[2], float(&o)[kOutputRegisters<Shape>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 8; ++i) {
            float& to = o[channel / 2 + i];
            to = __builtin_fmaf(sum_element<product, Machine>(sums, i), beta[i / 2 % 2], to);
          }
        },
        acc, step.beta, out);
  }
}

template <class Shape, class Machine>
OCTAVO_DEVICE void pv_half(Machine& machine, Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                           std::uint32_t stage, Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  constexpr Mma kProduct = Shape::kValues == PackedFormat::f16 ? Mma::f16 : Mma::bf16;
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
