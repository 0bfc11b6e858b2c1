// The online softmax (spec/online_softmax.hpp) of a warp's 16 rows, two to a lane (g and g + 8; the four lanes of a
// quad hold the same rows): m is the running maximum (base 2), l this lane's part of the row sum. Then the weights.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "cuda/attention/params.hpp"
#include "cuda/attention/qk.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/scalar_ops.hpp"
#include "spec/online_softmax.hpp"

namespace octavo::cuda {

template <class Machine>
struct RowState {
  Registers<Machine, float, 2> m, l;
};

template <class Machine>
struct TileStep {
  Registers<Machine, float, 2> shift;  // a weight is R 2^(T - shift); no T exceeds it
  Registers<Machine, float, 2> alpha, beta;
  Registers<Machine, std::uint32_t, 1> rescale;  // some alpha of the lane is not 1
};

template <class Machine>
OCTAVO_DEVICE void start_rows(Machine& machine, RowState<Machine>& state) {
  machine.lanes(
      [](int, float(&m)[2], float(&l)[2]) {
        for (int i = 0; i < 2; ++i) m[i] = -__builtin_inff(), l[i] = 0;
      },
      state.m, state.l);
}

// The largest of each row of C [16, 8 tiles], in all lanes that share it. Skips NaN, which reaches the row sum through
// its weight; `with_nan`: is NaN then.
template <bool with_nan = false, int n, class Machine>
OCTAVO_DEVICE void row_maxima(Machine& machine, Registers<Machine, float, n>& scores,
                              Registers<Machine, float, 2>& maxima) {
  machine.lanes(
      [](int, float(&s)[n], float(&max)[2]) {
        max[0] = max[1] = -__builtin_inff();
        OCTAVO_UNROLL
        for (int i = 0; i < n; ++i) {
          float& best = max[i / 2 % 2];
          best = with_nan ? Machine::max_nan(best, s[i]) : __builtin_fmaxf(best, s[i]);
        }
      },
      scores, maxima);
  if constexpr (with_nan) {
    reduce_over<4>(machine, maxima, [](float a, float b) { return Machine::max_nan(a, b); });
  } else {
    max_over<4>(machine, maxima);
  }
}

// `maxima` are of T - offset. `with_nan`: they may be NaN; beta is then, and with it l and O. m becomes a number, since
// a row without a maximum has seen no key.
template <bool with_nan = false, class Machine>
OCTAVO_DEVICE void online_softmax_update(Machine& machine, RowState<Machine>& state,
                                         Registers<Machine, float, 2>& maxima, Registers<Machine, float, 2>& offset,
                                         bool running, float log2_range, TileStep<Machine>& step) {
  machine.lanes(
      [&](int, float(&m)[2], float(&row_max)[2], float(&score_offset)[2], float(&shift)[2], float(&alpha)[2],
          float(&beta)[2], std::uint32_t(&rescale)[1]) {
        rescale[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < 2; ++i) {
          const auto next =
              spec::online_softmax_update<ScalarOps<Machine>>(m[i], row_max[i], score_offset[i], running, log2_range);
          shift[i] = next.shift, alpha[i] = next.alpha, beta[i] = next.beta;
          if (next.alpha != 1.0f) rescale[0] = 1;
          m[i] = next.m;
          if (with_nan && row_max[i] != row_max[i]) m[i] = 0, beta[i] = row_max[i];
        }
      },
      state.m, maxima, offset, step.shift, step.alpha, step.beta, step.rescale);
}

template <class Machine>
OCTAVO_DEVICE void add_row_sums(Machine& machine, RowState<Machine>& state, Registers<Machine, float, 2>& sums,
                                TileStep<Machine>& step) {
  machine.lanes(
      [](int, float(&l)[2], float(&sum)[2], float(&alpha)[2], float(&beta)[2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 2; ++i) {
          l[i] = spec::online_softmax_sum<ScalarOps<Machine>>(l[i], sum[i], alpha[i], beta[i]);
        }
      },
      state.l, sums, step.alpha, step.beta);
}

// Weights R p, p = 2^(T - shift), as operand A of the second product: the scores of a lane are the keys that its
// registers of A need (packed_block.hpp), so each register is packed from four (8 bits) or two (16 bits) of the lane's
// own.
template <class Shape>
constexpr int kWeightRegisters = Shape::kKeys / (Shape::kByteValues ? 8 : 4);

// 1.5 * 2^23: added to a number below 2^22 it leaves the number, rounded half to even, in the low bits.
constexpr float kRounding = 12582912.0f;

// Which score of tile `tile` element `i` of row half `half` is: C's registers.
OCTAVO_INLINE constexpr int score_index(int tile, int half, int i) { return 4 * tile + 2 * half + i; }

// Where a row's shift is small, weights are 2^T times 2^-shift: scores need not be shifted, which saves a subtraction
// for each. 2^T and its sum times the fold's inverses (up to 2^60) then stay inside f32's range, and what becomes 0 is
// less than 2^-78 of the tile's largest weight. The scores of other rows are shifted here.
constexpr float kMostUnshifted = 48;
template <int n, class Machine>
OCTAVO_DEVICE void shift_far_scores(Machine& machine, Registers<Machine, float, n>& scores, TileStep<Machine>& step) {
  Registers<Machine, std::uint32_t, 1> far;
  machine.lanes(
      [](int, float(&shift)[2], std::uint32_t(&is_far)[1]) {
        is_far[0] = !(__builtin_fabsf(shift[0]) <= kMostUnshifted) || !(__builtin_fabsf(shift[1]) <= kMostUnshifted);
      },
      step.shift, far);
  if (!machine.any(far)) return;
  machine.lanes(
      [](int, float(&s)[n], float(&shift)[2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < n; ++i) s[i] -= shift[i / 2 % 2];
        shift[0] = shift[1] = 0;
      },
      scores, step.shift);
}

// R p of a score is 2^shifted_score times the weight_scale of its row.
template <class Shape>
OCTAVO_DEVICE float shifted_score(float score, float shift) {
  return Shape::kShiftsScores ? score - shift : score;
}
template <class Shape, class Machine>
OCTAVO_DEVICE float weight_scale(float range, float shift) {
  return Shape::kShiftsScores ? range : range * Machine::exp2(-shift);
}

// u8 codes of R p, or the bytes of 16-bit ones in two planes, the higher first. The row sum adds the weights or the
// codes, each times the inverse of its key with the fold. p is multiplied by R when it is rounded: log2 R inside the
// exponent would lose digits beside a large score, and codes could exceed R.
template <class Shape, int planes, class Machine>
OCTAVO_DEVICE void integer_weights(Machine& machine, Registers<Machine, float, Shape::kKeys / 2>& scores,
                                   TileStep<Machine>& step, float range, bool sum_codes, bool inverses,
                                   std::uint32_t stage,
                                   Registers<Machine, std::uint32_t, planes * kWeightRegisters<Shape>>& weights,
                                   Registers<Machine, float, 2>& sums) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2], float(&shift)[2],
          std::uint32_t(&packed)[planes * kWeightRegisters<Shape>], float(&sum)[2]) {
        const float scale[2] = {weight_scale<Shape, Machine>(range, shift[0]),
                                weight_scale<Shape, Machine>(range, shift[1])};
        sum[0] = sum[1] = 0;
        OCTAVO_UNROLL
        for (int tile = 0; tile < Shape::kKeys / 8; tile += 2) {
          FloatQuad count{1, 1, 1, 1};
          if (inverses) {
            count = numbers_of_keys<Shape>(machine, Shape::kInverseAt + stage * Shape::kVectorBytes, 8 * tile, lane);
          }
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            std::uint32_t code[4];
            OCTAVO_UNROLL
            for (int j = 0; j < 4; ++j) {
              const float p =
                  Machine::exp2(shifted_score<Shape>(s[score_index(tile + j / 2, half, j % 2)], shift[half]));
              const float rounded = __builtin_fmaf(p, scale[half], kRounding);
              code[j] = bits_of_f32(rounded);
              // An integer cannot be NaN; the row sum is, through p or the rounded p.
              const float counted = sum_codes ? rounded - kRounding : p;
              sum[half] = __builtin_fmaf(counted, of_column(count, score_index(j / 2, half, j % 2)), sum[half]);
            }
            if (planes == 2) packed[tile + half] = Machine::second_bytes(code[0], code[1], code[2], code[3]);
            packed[(planes - 1) * kWeightRegisters<Shape> + tile + half] =
                Machine::low_bytes(code[0], code[1], code[2], code[3]);
          }
        }
        if (!sum_codes) sum[0] *= scale[0], sum[1] *= scale[1];
      },
      scores, step.shift, weights, sums);
}

// The same where the row sum adds the codes and each counts once: the sum is of integers, and no NaN reaches it
// (row_maxima<true>).
template <class Shape, class Machine>
OCTAVO_DEVICE void integer_weights_sum_codes(Machine& machine, Registers<Machine, float, Shape::kKeys / 2>& scores,
                                             TileStep<Machine>& step, float range,
                                             Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                                             Registers<Machine, float, 2>& sums) {
  machine.lanes(
      [&](int, float(&s)[Shape::kKeys / 2], float(&shift)[2], std::uint32_t(&packed)[kWeightRegisters<Shape>],
          float(&sum)[2]) {
        const float scale[2] = {weight_scale<Shape, Machine>(range, shift[0]),
                                weight_scale<Shape, Machine>(range, shift[1])};
        std::uint32_t total[2] = {0, 0};
        OCTAVO_UNROLL
        for (int tile = 0; tile < Shape::kKeys / 8; tile += 2) {
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            std::uint32_t code[4];
            OCTAVO_UNROLL
            for (int j = 0; j < 4; ++j) {
              const float p =
                  Machine::exp2(shifted_score<Shape>(s[score_index(tile + j / 2, half, j % 2)], shift[half]));
              code[j] = bits_of_f32(__builtin_fmaf(p, scale[half], kRounding));
            }
            packed[tile + half] = Machine::low_bytes(code[0], code[1], code[2], code[3]);
            total[half] = Machine::add_bytes(packed[tile + half], total[half]);
          }
        }
        // At most 255 * kKeys.
        for (int half = 0; half < 2; ++half) sum[half] = f32_of_bits(bits_of_f32(kRounding) + total[half]) - kRounding;
      },
      scores, step.shift, weights, sums);
}

// x (0 <= x) rounded to a number of FP8, half to even: with three (E4M3) or two (E5M2) digits behind the leading one,
// and those of the smallest normal number below it.
OCTAVO_INLINE float round_float8(float x, Float8Rounding format) {
  const std::uint32_t exponent = bits_of_f32(__builtin_fmaxf(x, format.smallest_normal)) & 0x7f800000u;
  const float rounding = f32_of_bits(exponent + format.shift);  // 1.5 * 2^(exponent + 23 - digits)
  return (x + rounding) - rounding;
}

// Weights R p rounded to FP8, in f16; the row sum adds R p before or after rounding.
template <class Shape, class Machine>
OCTAVO_DEVICE void float8_weights(Machine& machine, Registers<Machine, float, Shape::kKeys / 2>& scores,
                                  TileStep<Machine>& step, float range, Float8Rounding format, bool sum_codes,
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
            float code[2];
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) {
              const float p = Machine::exp2(s[score_index(tile, half, j)] - shift[half]);
              code[j] = round_float8(p * range, format);
              sum[half] += sum_codes ? code[j] : p;
            }
            packed[2 * tile + half] = Machine::pack_f16(code[0], code[1]);
          }
        }
        if (!sum_codes) sum[0] *= range, sum[1] *= range;
      },
      scores, step.shift, weights, sums);
}

// Weights R p rounded to E4M3, a byte each. `sum_codes` when compiled: rounding for the sum takes five instructions.
template <class Shape, bool sum_codes, class Machine>
OCTAVO_DEVICE void e4m3_weights(Machine& machine, Registers<Machine, float, Shape::kKeys / 2>& scores,
                                TileStep<Machine>& step, float range, Float8Rounding format,
                                Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights,
                                Registers<Machine, float, 2>& sums) {
  machine.lanes(
      [&](int, float(&s)[Shape::kKeys / 2], float(&shift)[2], std::uint32_t(&packed)[kWeightRegisters<Shape>],
          float(&sum)[2]) {
        const float scale[2] = {weight_scale<Shape, Machine>(range, shift[0]),
                                weight_scale<Shape, Machine>(range, shift[1])};
        sum[0] = sum[1] = 0;
        OCTAVO_UNROLL
        for (int tile = 0; tile < Shape::kKeys / 8; tile += 2) {
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            float weight[4];
            OCTAVO_UNROLL
            for (int j = 0; j < 4; ++j) {
              const float p =
                  Machine::exp2(shifted_score<Shape>(s[score_index(tile + j / 2, half, j % 2)], shift[half]));
              weight[j] = p * scale[half];
              sum[half] += sum_codes ? round_float8(weight[j], format) : p;
            }
            packed[tile + half] = Machine::pack_e4m3(weight[0], weight[1], weight[2], weight[3]);
          }
        }
        if (!sum_codes) sum[0] *= scale[0], sum[1] *= scale[1];
      },
      scores, step.shift, weights, sums);
}

// 16-bit weights, R = 1; the row sum adds them before or after rounding.
template <class Shape, bool sum_codes, class Machine>
OCTAVO_DEVICE void half_weights(Machine& machine, Registers<Machine, float, Shape::kKeys / 2>& scores,
                                TileStep<Machine>& step,
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

// f32 weights, R = 1, in three planes of bf16.
template <class Shape, class Machine>
OCTAVO_DEVICE void f32_weights(Machine& machine, Registers<Machine, float, Shape::kKeys / 2>& scores,
                               TileStep<Machine>& step,
                               Registers<Machine, std::uint32_t, Shape::kPlanes * kWeightRegisters<Shape>>& weights,
                               Registers<Machine, float, 2>& sums) {
  machine.lanes(
      [&](int, float(&s)[Shape::kKeys / 2], float(&shift)[2],
          std::uint32_t(&packed)[Shape::kPlanes * kWeightRegisters<Shape>], float(&sum)[2]) {
        sum[0] = sum[1] = 0;
        OCTAVO_UNROLL
        for (int tile = 0; tile < Shape::kKeys / 8; ++tile) {
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            float p[2];
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) p[j] = Machine::exp2(s[score_index(tile, half, j)] - shift[half]);
            sum[half] += p[0] + p[1];
            OCTAVO_UNROLL
            for (int plane = 0; plane < Shape::kPlanes; ++plane) {
              packed[plane * kWeightRegisters<Shape> + 2 * tile + half] = take_upper_halves(p[0], p[1]);
            }
          }
        }
      },
      scores, step.shift, weights, sums);
}

}  // namespace octavo::cuda
