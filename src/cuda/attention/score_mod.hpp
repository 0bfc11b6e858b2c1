// Score modifications between QK and softmax: softcap, additive masks, ALiBi, boolean masks.
//   s = scale q.k (+ what smooth_k took off);  s = c tanh(s / c);  s += mask + slope (j - diagonal)
// A term that all keys of a row share cancels in softmax: the mask's largest finite term is subtracted first, and ALiBi
// is counted from the key where it is largest, so that neither costs the scores digits; both are added back in the LSE
// and where the row is compared with a sink.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "cuda/attention/mask.hpp"
#include "cuda/attention/qk.hpp"
#include "cuda/attention/task.hpp"
#include "cuda/operands/read_number.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/register_parts.hpp"
#include "spec/alibi.hpp"
#include "spec/base2.hpp"

namespace octavo::cuda {

using spec::kLn2;
using spec::kLog2E;
using spec::kMostF32;

// A mask's element, natural units; a finite number stays finite in base 2.
template <ElementKind kind, class Machine>
OCTAVO_DEVICE float read_mask(const Broadcast& mask, std::int64_t at) {
  constexpr float kLeast = -kMostF32 * kLn2;
  const float value = read_element<kind, Machine>(mask, at);
  return value < kLeast && value != -__builtin_inff() ? kLeast : value;
}

// The terms of a lane's two rows.
template <class Machine>
struct RowTerms {
  Registers<Machine, float, 2> row_max;       // the mask's largest finite term, natural units
  Registers<Machine, float, 2> lse_offset;    // subtracted from the scores, natural units: `row_max` and ALiBi's peak
  Registers<Machine, float, 2> logit_offset;  // logit_offset_of_row
};

OCTAVO_INLINE bool has_mask_row_max(const AttentionKernelParams& p) {
  return p.mask.data != nullptr && p.mask.dtype != DType::boolean;
}

// ALiBi of one row: slope * (distance - peak), spec/alibi.hpp.
struct RowAlibi {
  float slope;  // base 2
  std::int32_t diagonal;
  std::int32_t peak;  // distance of the key where the term is largest
};
template <class Machine>
OCTAVO_DEVICE RowAlibi alibi_of_row(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t row) {
  if (p.alibi_slopes.data == nullptr) return {0, 0, 0};
  const Keys32 seen = keys_of_row(p, task, row);
  const auto diagonal = static_cast<std::int32_t>(spec::diagonal(p.causal, task.q_rows, task.k_rows, row));
  const float slope = spec::in_base_2(read_number<Machine>(
      p.alibi_slopes, task.batch * p.alibi_slopes.strides[0] + task.head * p.alibi_slopes.strides[1]));
  return {slope, diagonal, spec::alibi_peak(p.alibi, slope, seen.begin, seen.end, diagonal)};
}

OCTAVO_INLINE std::int64_t mask_row(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t row) {
  return task.batch * p.mask.strides[0] + task.head * p.mask.strides[1] + row * p.mask.strides[2];
}

// What smooth_k subtracted from all scores of a row, natural units.
OCTAVO_INLINE float logit_offset_of_row(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t row) {
  if (p.q.smooth_k_logit_offset == nullptr || row >= task.q_rows) return 0;
  return p.q.smooth_k_logit_offset[task.packed_row + (row - task.first_row)];
}

// Whether a key exists for the call; its position is not looked at.
OCTAVO_INLINE bool key_exists(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t key) {
  return p.seen == nullptr || p.seen[task.first_slot + static_cast<std::uint32_t>(key)] != 0;
}

// The mask's largest finite term of each of the warp's rows: all lanes read one row together.
template <class Machine>
OCTAVO_DEVICE void find_mask_row_max(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                     std::int32_t warp_row, Registers<Machine, float, 2>& row_max) {
  OCTAVO_ROLLED
  for (int r = 0; r < 16; ++r) {
    const std::int32_t row = warp_row + r;
    if (row >= task.q_rows) return;
    const Keys32 seen = keys_of_row(p, task, row);
    const std::int64_t at = mask_row(p, task, row);
    Registers<Machine, float, 1> best;
    machine.lanes(
        [&](int lane, float(&b)[1]) {
          b[0] = -__builtin_inff();
          with_element_kind(p.mask.dtype, [&]<ElementKind kind>() {
            for (std::int32_t key = seen.begin + lane; key < seen.end; key += kLanes) {
              const float x = read_mask<kind, Machine>(p.mask, at + key * p.mask.strides[3]);
              if (is_finite(x) && x > b[0] && key_exists(p, task, key)) b[0] = x;
            }
          });
        },
        best);
    max_over<kLanes>(machine, best);
    machine.lanes(
        [&](int lane, float(&b)[1], float(&c)[2]) {
          for (int half = 0; half < 2; ++half) {
            if (lane / 4 + 8 * half == r) c[half] = b[0] == -__builtin_inff() ? 0.0f : b[0];
          }
        },
        best, row_max);
  }
}

template <class Machine>
OCTAVO_DEVICE void find_row_terms(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                  std::int32_t warp_row, RowTerms<Machine>& terms) {
  machine.lanes(
      [&](int lane, float(&row_max)[2], float(&lse_offset)[2], float(&logit_offset)[2]) {
        for (int half = 0; half < 2; ++half) {
          const std::int32_t row = row_of_lane(warp_row, lane, half);
          row_max[half] = lse_offset[half] = logit_offset[half] = 0;
          if (row >= task.q_rows) continue;
          logit_offset[half] = logit_offset_of_row(p, task, row);
          const RowAlibi alibi = alibi_of_row<Machine>(p, task, row);
          lse_offset[half] = spec::bounded(alibi.slope * kLn2 * static_cast<float>(alibi.peak));
        }
      },
      terms.row_max, terms.lse_offset, terms.logit_offset);
  if (!has_mask_row_max(p)) return;
  find_mask_row_max(machine, p, task, warp_row, terms.row_max);
  machine.lanes(
      [](int, float(&row_max)[2], float(&lse_offset)[2]) {
        for (int half = 0; half < 2; ++half) lse_offset[half] = spec::bounded(lse_offset[half] + row_max[half]);
      },
      terms.row_max, terms.lse_offset);
}

// c tanh(s / c) on base-2 logits (spec/base2.hpp).
template <class Machine>
OCTAVO_DEVICE float apply_softcap(float logit, float offset, float inverse, float softcap) {
  const float t = __builtin_fmaf(logit, kLn2, offset) * inverse, t2 = t * t;
  const float power = Machine::exp2(t > 20.0f ? 40 * kLog2E : t * (2 * kLog2E));
  const float far = __builtin_fmaf(-2.0f, Machine::reciprocal(power + 1.0f), 1.0f);
  const float series = __builtin_fmaf(__builtin_fmaf(spec::kTanh7, t2, spec::kTanh5), t2, spec::kTanh3);
  const float near = __builtin_fmaf(t * t2, series, t);
  return (__builtin_fabsf(t) < spec::kTanhNear ? near : far) * softcap * kLog2E;
}

// f(key, score) for a lane's scores of one half; keys counted from the tile's first.
template <class Shape, class F>
OCTAVO_DEVICE void for_each_key(int lane, int half, float (&s)[Shape::kKeys / 2], F&& f) {
  OCTAVO_UNROLL
  for (int tile = 0; tile < Shape::kKeys / 8; ++tile) {
    OCTAVO_UNROLL
    for (int j = 0; j < 2; ++j) {
      const int i = 4 * tile + 2 * half + j;
      f(key_of_element<Shape>(lane, i), s[i]);
    }
  }
}

// Scores that one turn of a pass over a tile has.
template <class Shape>
constexpr int kScoresAtOnce = Shape::kKeys < 32 ? Shape::kKeys / 2 : 16;

// One pass over the scores for each option, so that each is a short piece of code.
template <class Shape, class Machine>
OCTAVO_DEVICE void add_mask(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                            std::int32_t warp_row, std::int32_t first_key, RowTerms<Machine>& terms,
                            Registers<Machine, float, Shape::kKeys / 2>& scores) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2], float(&row_max)[2]) {
        std::int32_t begin[2], last[2];
        std::int64_t at[2];
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const std::int32_t row = row_of_lane(warp_row, lane, half);
          const Keys32 seen = row < task.q_rows ? keys_of_row(p, task, row) : Keys32{};
          begin[half] = seen.begin, last[half] = seen.end - 1;
          at[half] = mask_row(p, task, row);
        }
        with_element_kind(p.mask.dtype, [&]<ElementKind kind>() {
          for_register_parts<kScoresAtOnce<Shape>>(s, [&](int first, auto& part) {
            OCTAVO_UNROLL
            for (int i = 0; i < kScoresAtOnce<Shape>; ++i) {
              const int half = i / 2 % 2;
              if (begin[half] > last[half]) continue;
              // Of a key that the row does not see, which the mask may not have, the nearest one's.
              const std::int32_t key = first_key + 2 * first + key_of_element<Shape>(lane, i);
              const std::int32_t near = key < begin[half] ? begin[half] : key > last[half] ? last[half] : key;
              const float term = read_mask<kind, Machine>(p.mask, at[half] + near * p.mask.strides[3]);
              // A masked score is -infinity even where the product is NaN.
              part[i] = term == -__builtin_inff() ? term : __builtin_fmaf(term - row_max[half], kLog2E, part[i]);
            }
          });
        });
      },
      scores, terms.row_max);
}

// Keys whose addend is -infinity do not exist: hidden again after softcap, a mask's NaN, or a NaN in the row of Q. The
// addends are read from global memory: shared memory may hold the next tile's by now.
template <class Shape, class Machine>
OCTAVO_DEVICE void hide_absent_keys(Machine& machine, const float* addends,
                                    Registers<Machine, float, Shape::kKeys / 2>& scores) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < Shape::kKeys / 2; ++i) {
          if (addends[key_of_element<Shape>(lane, i)] == -__builtin_inff()) s[i] = -__builtin_inff();
        }
      },
      scores);
}

// Whether a block of rows reads offsets of K's block means.
OCTAVO_INLINE bool has_block_offsets(const AttentionKernelParams& p, const AttentionTask& task) {
  return p.block_offsets.taken != nullptr && p.block_offsets.taken[task.batch * p.keys.heads + task.kv_head] != 0;
}

// Adds `factor` times the offsets of a warp's rows, from `row` of the chunk on, against the keys of a tile.
template <class Machine>
OCTAVO_DEVICE void add_block_offsets(Machine& machine, const AttentionKernelParams& p, std::int64_t row,
                                     std::int32_t key, float factor, Registers<Machine, float, 2>& offset) {
  const std::int64_t block = row / kPackedRows * p.block_offsets.key_blocks + key / kPackedRows;
  const float* const of_rows = p.block_offsets.of_row + block * kPackedRows + row % kPackedRows;
  machine.lanes(
      [&](int lane, float(&o)[2]) {
        for (int half = 0; half < 2; ++half) o[half] = o[half] + factor * of_rows[row_of_lane(0, lane, half)];
      },
      offset);
}

// Modifies scores in place; masks by position come afterwards, since softcap would make -infinity finite.
// `block_offset`: what softcap needs added because of K's block means, natural units.
template <class Shape, class Machine>
OCTAVO_DEVICE void apply_score_mod(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                   std::int32_t warp_row, std::int32_t first_key, RowTerms<Machine>& terms,
                                   Registers<Machine, float, 2>& block_offset,
                                   Registers<Machine, float, Shape::kKeys / 2>& scores) {
  if (p.softcap > 0) {
    const float inverse = 1.0f / p.softcap;
    machine.lanes(
        [&](int, float(&s)[Shape::kKeys / 2], float(&logit_offset)[2], float(&of_block)[2]) {
          const float constant[2] = {logit_offset[0] + of_block[0], logit_offset[1] + of_block[1]};
          for_register_parts<kScoresAtOnce<Shape>>(s, [&](int, auto& part) {
            OCTAVO_UNROLL
            for (int i = 0; i < kScoresAtOnce<Shape>; ++i) {
              part[i] = apply_softcap<Machine>(part[i], constant[i / 2 % 2], inverse, p.softcap);
            }
          });
        },
        scores, terms.logit_offset, block_offset);
  }
  if (p.alibi_slopes.data != nullptr) {
    machine.lanes(
        [&](int lane, float(&s)[Shape::kKeys / 2]) {
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            const RowAlibi alibi = alibi_of_row<Machine>(p, task, row_of_lane(warp_row, lane, half));
            const auto from_diagonal = static_cast<float>(first_key - alibi.diagonal);
            const auto peak = static_cast<float>(alibi.peak);
            const float right = p.alibi == Alibi::symmetric ? -1.0f : 1.0f;  // sign of distances right of the diagonal
            for_each_key<Shape>(lane, half, s, [&](int key, float& x) {
              const float offset = from_diagonal + static_cast<float>(key);
              const float distance = offset > 0 ? right * offset : offset;
              x = __builtin_fmaf(alibi.slope, distance - peak, x);
            });
          }
        },
        scores);
  }
  if (p.mask.data != nullptr) add_mask<Shape>(machine, p, task, warp_row, first_key, terms, scores);
  if (p.hides_keys) {
    hide_absent_keys<Shape>(machine, addends_of(p, task.q16) + task.addend_at + first_key, scores);
  }
}

// T = (s - r) + b with r the row's maximum of s, so that b keeps its digits beside a large score. `offset` is r,
// `maxima` are of T afterwards.
template <class Shape, class Machine>
OCTAVO_DEVICE void fold_scores(Machine& machine, std::uint32_t stage,
                               Registers<Machine, float, Shape::kKeys / 2>& scores,
                               Registers<Machine, float, 2>& maxima, Registers<Machine, float, 2>& offset) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2], float(&r)[2], float(&score_offset)[2]) {
        for (int half = 0; half < 2; ++half) score_offset[half] = r[half] == -__builtin_inff() ? 0.0f : r[half];
        OCTAVO_UNROLL
        for (int slot = 0; slot < Shape::kKeys; slot += 16) {
          const FloatQuad b = numbers_of_keys<Shape>(machine, Shape::kFoldAt + stage * Shape::kVectorBytes, slot, lane);
          OCTAVO_UNROLL
          for (int i = 0; i < 8; ++i) {
            float& x = s[slot / 2 + i];
            if (x != -__builtin_inff())
              x = x - score_offset[i / 2 % 2] + of_column(b, i);  // a masked token may have no b
          }
        }
      },
      scores, maxima, offset);
  row_maxima(machine, scores, maxima);
}

}  // namespace octavo::cuda
