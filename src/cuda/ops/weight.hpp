// From scores to weights R p, p = 2^(T - shift), as operand A of the second product: a lane's scores are the very keys
// that its registers of A want (see packed.hpp), so each register is packed from the lane's own four (8 bits) or two
// (16 bits).
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "cuda/ops/score.hpp"
#include "cuda/ops/softmax.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

template <class Shape>
constexpr int kWeightRegisters = Shape::kKeys / (Shape::kIntegerValues ? 8 : 4);

// 1.5 * 2^23: added to a number below 2^22 it leaves the number, rounded half to even, in the low bits.
constexpr float kRounding = 12582912.0f;

// Which score of tile `tile` element `i` of row half `half` is: C's registers.
OCTAVO_INLINE constexpr int score_index(int tile, int half, int i) { return 4 * tile + 2 * half + i; }

// u8 codes of R p. The row sum takes the weights, each times `inverse` (of its slot) where the fold has one, or the
// codes. R is multiplied where p is rounded: taken off the shift, it would lose digits beside a large score, and codes
// would exceed it.
template <class Shape, class Machine>
OCTAVO_DEVICE void weigh_integers(Machine& machine, Registers<Machine, float, Shape::kKeys / 2>& scores,
                                  TileStep<Machine>& step, float range, bool sum_codes, bool inverses,
                                  std::uint32_t stage,
                                  Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                                  Registers<Machine, float, 2>& sums) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2], float(&shift)[2], std::uint32_t(&packed)[kWeightRegisters<Shape>],
          float(&sum)[2]) {
        sum[0] = sum[1] = 0;
        OCTAVO_UNROLL
        for (int tile = 0; tile < Shape::kKeys / 8; tile += 2) {
          FloatPair count[2] = {{1, 1}, {1, 1}};
          if (inverses) {
            OCTAVO_UNROLL
            for (int u = 0; u < 2; ++u) {
              count[u] =
                  machine.template shared<FloatPair>(Shape::kInverseAt + stage * Shape::kVectorBytes +
                                                     4 * static_cast<std::uint32_t>(8 * (tile + u) + lane % 4 * 2));
            }
          }
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            std::uint32_t code[4];
            OCTAVO_UNROLL
            for (int j = 0; j < 4; ++j) {
              const float p = Machine::exp2(s[score_index(tile + j / 2, half, j % 2)] - shift[half]);
              const float rounded = __builtin_fmaf(p, range, kRounding);
              code[j] = bits_of_f32(rounded);
              // An integer cannot be NaN: the sum is, through p, or through the rounded p.
              const float counted = sum_codes ? rounded - kRounding : p;
              sum[half] = __builtin_fmaf(counted, j % 2 == 0 ? count[j / 2].x : count[j / 2].y, sum[half]);
            }
            packed[tile + half] = Machine::low_bytes(code[0], code[1], code[2], code[3]);
          }
        }
        if (!sum_codes) sum[0] *= range, sum[1] *= range;
      },
      scores, step.shift, weights, sums);
}

// 16-bit weights, R = 1; the row sum takes them before they are rounded, or after.
template <class Shape, class Machine>
OCTAVO_DEVICE void weigh_halves(Machine& machine, Registers<Machine, float, Shape::kKeys / 2>& scores,
                                TileStep<Machine>& step, bool sum_codes,
                                Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                                Registers<Machine, float, 2>& sums) {
  machine.lanes(
      [&](int, float(&s)[Shape::kKeys / 2], float(&shift)[2], std::uint32_t(&packed)[kWeightRegisters<Shape>],
          float(&sum)[2]) {
        sum[0] = sum[1] = 0;
        OCTAVO_UNROLL
        for (int tile = 0; tile < Shape::kKeys / 8; ++tile) {
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            float p[2];
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) p[j] = Machine::exp2(s[score_index(tile, half, j)] - shift[half]);
            std::uint32_t& to = packed[2 * tile + half];
            if constexpr (Shape::kValues == PackedFormat::f16) {
              to = Machine::pack_f16(p[0], p[1]);
              if (sum_codes) {
                p[0] = Machine::from_f16(static_cast<std::uint16_t>(to));
                p[1] = Machine::from_f16(static_cast<std::uint16_t>(to >> 16));
              }
            } else {
              to = Machine::pack_bf16(p[0], p[1]);
              if (sum_codes) p[0] = f32_of_bits(to << 16), p[1] = f32_of_bits(to & 0xffff0000u);
            }
            sum[half] += p[0] + p[1];
          }
        }
      },
      scores, step.shift, weights, sums);
}

}  // namespace octavo::cuda
