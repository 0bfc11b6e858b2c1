// What the caller's options do to scores between product and softmax: softcap, additive masks, ALiBi, boolean masks.
//   s = scale q.k (+ what smooth_k took off);  s = c tanh(s / c);  s += mask + slope (j - diagonal)
// What all keys of a row have in common is no part of softmax: the mask's largest finite term is taken off first, and
// ALiBi is counted from the key where it is largest, so that neither can swallow the scores' digits; both come back in
// the LSE and the comparison with a sink.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "cuda/ops/hide.hpp"
#include "cuda/ops/score.hpp"
#include "cuda/ops/task.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.69314718f, kMostF32 = 3.40282347e38f;

// An element of an optional tensor as f32; what is finite stays finite.
OCTAVO_INLINE float read_number(const DeviceTensor& x, std::int64_t at) {
  switch (x.dtype) {
    case DType::f32:
      return static_cast<const float*>(x.data)[at];
    case DType::f16:
      return f16_to_f32(static_cast<const std::uint16_t*>(x.data)[at]);
    case DType::bf16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(x.data)[at]);
    default:
      break;
  }
  const double value = static_cast<const double*>(x.data)[at];
  if (value > 3.4028234663852886e38 && value < __builtin_inf()) return kMostF32;
  if (value < -3.4028234663852886e38 && value > -__builtin_inf()) return -kMostF32;
  return static_cast<float>(value);
}

// A mask's element in base 2: 0 or -infinity of a bool; a finite number stays one, however huge.
OCTAVO_INLINE float read_mask(const DeviceTensor& mask, std::int64_t at) {
  if (mask.dtype == DType::boolean) {
    return static_cast<const std::uint8_t*>(mask.data)[at] != 0 ? 0.0f : -__builtin_inff();
  }
  const float value = read_number(mask, at), x = value * kLog2E;
  const bool overflowed = __builtin_fabsf(value) <= kMostF32 && !(__builtin_fabsf(x) <= kMostF32);
  return overflowed ? (x < 0 ? -kMostF32 : kMostF32) : x;
}

// What the options come to for a lane's two rows.
template <class Machine>
struct RowTerms {
  Registers<Machine, float, 2> common;    // the mask's largest finite term, base 2
  Registers<Machine, float, 2> owed;      // what scores lack, base 2: `common` and ALiBi's peak
  Registers<Machine, float, 2> constant;  // what smooth_k took off, natural units
};

OCTAVO_INLINE bool has_common_terms(const AttentionKernelParams& p) {
  return p.mask.data != nullptr && p.mask.dtype != DType::boolean;
}

struct Alibi {
  float slope;        // base 2
  std::int64_t peak;  // key where the term is largest
};
OCTAVO_INLINE Alibi alibi_of_row(const AttentionKernelParams& p, const AttentionTask& task, laws::KeyRange seen) {
  if (p.alibi_slopes.data == nullptr) return {0, 0};
  const float slope =
      read_number(p.alibi_slopes, task.batch * p.alibi_slopes.strides[0] + task.head * p.alibi_slopes.strides[1]) *
      kLog2E;
  return {slope, slope >= 0 ? seen.end - 1 : seen.begin};
}

OCTAVO_INLINE std::int64_t mask_row(const AttentionKernelParams& p, const AttentionTask& task, std::int64_t row) {
  return task.batch * p.mask.strides[0] + task.head * p.mask.strides[1] + row * p.mask.strides[2];
}

// The mask's largest finite term of each of the warp's rows: all lanes read one row together.
template <class Machine>
OCTAVO_DEVICE void find_common_terms(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                     std::int64_t warp_row, Registers<Machine, float, 2>& common) {
  OCTAVO_ROLLED
  for (int r = 0; r < 16; ++r) {
    const std::int64_t row = warp_row + r;
    if (row >= task.q_rows) return;
    const laws::KeyRange seen = keys_of_row(p, task, row);
    const std::int64_t at = mask_row(p, task, row);
    Registers<Machine, float, 1> best, other;
    machine.lanes(
        [&](int lane, float(&b)[1]) {
          b[0] = -__builtin_inff();
          for (std::int64_t key = seen.begin + lane; key < seen.end; key += kLanes) {
            const float x = read_mask(p.mask, at + key * p.mask.strides[3]);
            if (is_finite(x) && x > b[0]) b[0] = x;
          }
        },
        best);
    for (int mask = 1; mask < kLanes; mask *= 2) {
      machine.shuffle_xor(other, best, mask);
      machine.lanes([](int, float(&a)[1], float(&b)[1]) { a[0] = a[0] > b[0] ? a[0] : b[0]; }, best, other);
    }
    machine.lanes(
        [&](int lane, float(&b)[1], float(&c)[2]) {
          for (int half = 0; half < 2; ++half) {
            if (lane / 4 + 8 * half == r) c[half] = b[0] == -__builtin_inff() ? 0.0f : b[0];
          }
        },
        best, common);
  }
}

template <class Machine>
OCTAVO_DEVICE void find_row_terms(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                  std::int64_t warp_row, std::int64_t packed_row, RowTerms<Machine>& terms) {
  machine.lanes(
      [&](int lane, float(&common)[2], float(&owed)[2], float(&constant)[2]) {
        for (int half = 0; half < 2; ++half) {
          const std::int64_t row = row_of_lane(warp_row, lane, half);
          common[half] = owed[half] = constant[half] = 0;
          if (row >= task.q_rows) continue;
          if (p.q.constant != nullptr) constant[half] = p.q.constant[row_of_lane(packed_row, lane, half)];
          const Alibi alibi = alibi_of_row(p, task, keys_of_row(p, task, row));
          const std::int64_t centre = laws::diagonal(p.causal, task.q_rows, task.k_rows, row);
          owed[half] = alibi.slope * static_cast<float>(alibi.peak - centre);
        }
      },
      terms.common, terms.owed, terms.constant);
  if (!has_common_terms(p)) return;
  find_common_terms(machine, p, task, warp_row, terms.common);
  machine.lanes(
      [](int, float(&common)[2], float(&owed)[2]) {
        for (int half = 0; half < 2; ++half) owed[half] += common[half];
      },
      terms.common, terms.owed);
}

// c tanh(s / c) on base-2 logits: tanh x = 1 - 2 / (e^2x + 1).
template <class Machine>
OCTAVO_DEVICE float soften(float logit, float constant, float softcap) {
  const float x = __builtin_fmaf(logit, kLn2, constant) * (2 * kLog2E / softcap);
  const float power = Machine::exp2(x > 60.0f ? 60.0f : x);
  return (1.0f - 2.0f / (power + 1.0f)) * (softcap * kLog2E);
}

// Scores in place. Hides by position, too: behind a softcap -infinity would be a number.
template <class Shape, class Machine>
OCTAVO_DEVICE void modify_scores(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                 std::int64_t warp_row, std::int64_t first_key, RowTerms<Machine>& terms,
                                 Registers<Machine, float, Shape::kKeys / 2>& scores) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2], float(&common)[2], float(&constant)[2]) {
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const std::int64_t row = row_of_lane(warp_row, lane, half);
          const laws::KeyRange seen = row < task.q_rows ? keys_of_row(p, task, row) : laws::KeyRange{0, 0};
          const auto begin = static_cast<int>(clamped(seen.begin - first_key, Shape::kKeys));
          const auto end = static_cast<int>(clamped(seen.end - first_key, Shape::kKeys));
          const Alibi alibi = alibi_of_row(p, task, seen);
          const auto from_peak = static_cast<float>(first_key - alibi.peak);
          const std::int64_t mask_at = mask_row(p, task, row) + first_key * p.mask.strides[3];
          OCTAVO_UNROLL
          for (int tile = 0; tile < Shape::kKeys / 8; ++tile) {
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) {
              float& x = s[4 * tile + 2 * half + j];
              const int key = key_of_element<Shape>(lane, 4 * tile + 2 * half + j);
              if (key < begin || key >= end) {
                x = -__builtin_inff();
                continue;
              }
              if (p.softcap > 0) x = soften<Machine>(x, constant[half], p.softcap);
              float term = alibi.slope == 0 ? 0.0f : alibi.slope * (from_peak + static_cast<float>(key));
              if (p.mask.data != nullptr) {
                const float masked = read_mask(p.mask, mask_at + key * p.mask.strides[3]);
                // Whatever the product was, a NaN too: who may not attend does not.
                if (masked == -__builtin_inff())
                  x = term = masked;
                else
                  term += masked - common[half];
              }
              x = term == -__builtin_inff() ? term : x + term;
            }
          }
        }
      },
      scores, terms.common, terms.constant);
}

// T = (s - r) + b with r the row's maximum of s, so that the fold's b keeps its digits beside any score. `offset` is r,
// `maxima` are of T afterwards.
template <class Shape, class Machine>
OCTAVO_DEVICE void fold_scores(Machine& machine, std::uint32_t stage,
                               Registers<Machine, float, Shape::kKeys / 2>& scores,
                               Registers<Machine, float, 2>& maxima, Registers<Machine, float, 2>& offset) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2], float(&r)[2], float(&apart)[2]) {
        for (int half = 0; half < 2; ++half) apart[half] = r[half] == -__builtin_inff() ? 0.0f : r[half];
        OCTAVO_UNROLL
        for (int tile = 0; tile < Shape::kKeys / 8; ++tile) {
          const auto b = machine.template shared<FloatPair>(Shape::kFoldAt + stage * Shape::kVectorBytes +
                                                            4 * static_cast<std::uint32_t>(8 * tile + lane % 4 * 2));
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) {
            float& x = s[4 * tile + i];
            x = x - apart[i / 2] + (i % 2 == 0 ? b.x : b.y);
          }
        }
      },
      scores, maxima, offset);
  row_maxima(machine, scores, maxima);
}

}  // namespace octavo::cuda
