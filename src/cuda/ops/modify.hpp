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
#include "spec/base2.hpp"

namespace octavo::cuda {

using spec::kLn2;
using spec::kLog2E;
using spec::kMostF32;

// How an element of a tensor of the caller's is read: dtypes of one size share their code.
enum class ElementKind { boolean, bits16, bits32_or_64 };

// f.template operator()<kind>() for the dtype's.
template <class F>
OCTAVO_DEVICE void with_element_kind(DType dtype, F&& f) {
  if (dtype == DType::boolean) {
    f.template operator()<ElementKind::boolean>();
  } else if (dtype == DType::f16 || dtype == DType::bf16) {
    f.template operator()<ElementKind::bits16>();
  } else {
    f.template operator()<ElementKind::bits32_or_64>();
  }
}

// An element as f32; what is finite stays finite. A bool: 0 where it is true, else -infinity.
template <ElementKind kind, class Machine>
OCTAVO_DEVICE float read_element(const DeviceTensor& x, std::int64_t at) {
  if constexpr (kind == ElementKind::boolean) {
    return static_cast<const std::uint8_t*>(x.data)[at] != 0 ? 0.0f : -__builtin_inff();
  } else if constexpr (kind == ElementKind::bits16) {
    const std::uint16_t bits = static_cast<const std::uint16_t*>(x.data)[at];
    return x.dtype == DType::bf16 ? bf16_to_f32(bits) : Machine::from_f16(bits);
  } else {
    if (x.dtype == DType::f32) return static_cast<const float*>(x.data)[at];
    const double value = static_cast<const double*>(x.data)[at];
    const auto y = static_cast<float>(value);
    const bool overflowed = __builtin_fabsf(y) == __builtin_inff() && __builtin_fabs(value) != __builtin_inf();
    return overflowed ? (y < 0 ? -kMostF32 : kMostF32) : y;
  }
}

template <class Machine>
OCTAVO_DEVICE float read_number(const DeviceTensor& x, std::int64_t at) {
  float value = 0;
  with_element_kind(x.dtype, [&]<ElementKind kind>() { value = read_element<kind, Machine>(x, at); });
  return value;
}

// A mask's element, natural units; a finite number stays one in base 2, however huge.
template <ElementKind kind, class Machine>
OCTAVO_DEVICE float read_mask(const DeviceTensor& mask, std::int64_t at) {
  constexpr float kLeast = -kMostF32 * kLn2;
  const float value = read_element<kind, Machine>(mask, at);
  return value < kLeast && value != -__builtin_inff() ? kLeast : value;
}

// What the options come to for a lane's two rows.
template <class Machine>
struct RowTerms {
  Registers<Machine, float, 2> common;    // the mask's largest finite term, natural units
  Registers<Machine, float, 2> owed;      // what scores lack, natural units: `common` and ALiBi's peak
  Registers<Machine, float, 2> constant;  // constant_of_row
};

OCTAVO_INLINE bool has_common_terms(const AttentionKernelParams& p) {
  return p.mask.data != nullptr && p.mask.dtype != DType::boolean;
}

struct Alibi {
  float slope;        // base 2
  std::int32_t peak;  // key where the term is largest
};
template <class Machine>
OCTAVO_DEVICE Alibi alibi_of_row(const AttentionKernelParams& p, const AttentionTask& task, Keys32 seen) {
  if (p.alibi_slopes.data == nullptr) return {0, 0};
  const float slope = spec::in_base_2(read_number<Machine>(
      p.alibi_slopes, task.batch * p.alibi_slopes.strides[0] + task.head * p.alibi_slopes.strides[1]));
  return {slope, slope >= 0 ? seen.end - 1 : seen.begin};
}

OCTAVO_INLINE std::int64_t mask_row(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t row) {
  return task.batch * p.mask.strides[0] + task.head * p.mask.strides[1] + row * p.mask.strides[2];
}

// What smooth_k took off all scores of a row, natural units.
OCTAVO_INLINE float constant_of_row(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t row) {
  if (p.q.constant == nullptr || row >= task.q_rows) return 0;
  return p.q.constant[task.packed_row + (row - task.first_row)];
}

// The mask's largest finite term of each of the warp's rows: all lanes read one row together.
template <class Machine>
OCTAVO_DEVICE void find_common_terms(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                     std::int32_t warp_row, Registers<Machine, float, 2>& common) {
  OCTAVO_ROLLED
  for (int r = 0; r < 16; ++r) {
    const std::int32_t row = warp_row + r;
    if (row >= task.q_rows) return;
    const Keys32 seen = keys_of_row(p, task, row);
    const std::int64_t at = mask_row(p, task, row);
    Registers<Machine, float, 1> best, other;
    machine.lanes(
        [&](int lane, float(&b)[1]) {
          b[0] = -__builtin_inff();
          with_element_kind(p.mask.dtype, [&]<ElementKind kind>() {
            for (std::int32_t key = seen.begin + lane; key < seen.end; key += kLanes) {
              const float x = read_mask<kind, Machine>(p.mask, at + key * p.mask.strides[3]);
              if (is_finite(x) && x > b[0]) b[0] = x;
            }
          });
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
                                  std::int32_t warp_row, RowTerms<Machine>& terms) {
  machine.lanes(
      [&](int lane, float(&common)[2], float(&owed)[2], float(&constant)[2]) {
        for (int half = 0; half < 2; ++half) {
          const std::int32_t row = row_of_lane(warp_row, lane, half);
          common[half] = owed[half] = constant[half] = 0;
          if (row >= task.q_rows) continue;
          constant[half] = constant_of_row(p, task, row);
          const Alibi alibi = alibi_of_row<Machine>(p, task, keys_of_row(p, task, row));
          const std::int64_t centre = spec::diagonal(p.causal, task.q_rows, task.k_rows, row);
          owed[half] = spec::bounded(alibi.slope * kLn2 * static_cast<float>(alibi.peak - centre));
        }
      },
      terms.common, terms.owed, terms.constant);
  if (!has_common_terms(p)) return;
  find_common_terms(machine, p, task, warp_row, terms.common);
  machine.lanes(
      [](int, float(&common)[2], float(&owed)[2]) {
        for (int half = 0; half < 2; ++half) owed[half] = spec::bounded(owed[half] + common[half]);
      },
      terms.common, terms.owed);
}

// c tanh(s / c) on base-2 logits (spec/base2.hpp).
template <class Machine>
OCTAVO_DEVICE float soften(float logit, float constant, float inverse, float softcap) {
  const float t = __builtin_fmaf(logit, kLn2, constant) * inverse, t2 = t * t;
  const float power = Machine::exp2(t > 20.0f ? 40 * kLog2E : t * (2 * kLog2E));
  const float far = __builtin_fmaf(-2.0f, Machine::reciprocal(power + 1.0f), 1.0f);
  const float series = __builtin_fmaf(__builtin_fmaf(spec::kTanh7, t2, spec::kTanh5), t2, spec::kTanh3);
  const float near = __builtin_fmaf(t * t2, series, t);
  return (__builtin_fabsf(t) < spec::kTanhNear ? near : far) * softcap * kLog2E;
}

// f(half, key, score) for a lane's scores of one half; keys counted from the tile's first.
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

// One pass over the scores for each option, so that each is a short piece of straight code.
template <class Shape, class Machine>
OCTAVO_DEVICE void add_mask(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                            std::int32_t warp_row, std::int32_t first_key, RowTerms<Machine>& terms,
                            Registers<Machine, float, Shape::kKeys / 2>& scores) {
  with_element_kind(p.mask.dtype, [&]<ElementKind kind>() {
    machine.lanes(
        [&](int lane, float(&s)[Shape::kKeys / 2], float(&common)[2]) {
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            const std::int32_t row = row_of_lane(warp_row, lane, half);
            const Keys32 seen = row < task.q_rows ? keys_of_row(p, task, row) : Keys32{};
            const std::int32_t begin = seen.begin - first_key, end = seen.end - first_key;
            const std::int64_t at = mask_row(p, task, row) + std::int64_t{first_key} * p.mask.strides[3];
            for_each_key<Shape>(lane, half, s, [&](int key, float& x) {
              if (key < begin || key >= end) return;  // not there to be read
              const float term = read_mask<kind, Machine>(p.mask, at + key * p.mask.strides[3]);
              // Whatever the product was, a NaN too: who may not attend does not.
              x = term == -__builtin_inff() ? term : __builtin_fmaf(term - common[half], kLog2E, x);
            });
          }
        },
        scores, terms.common);
  });
}

// Scores in place. Hides by position, too: behind a softcap -infinity would be a number.
template <class Shape, class Machine>
OCTAVO_DEVICE void modify_scores(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                 std::int32_t warp_row, std::int32_t first_key, RowTerms<Machine>& terms,
                                 Registers<Machine, float, Shape::kKeys / 2>& scores) {
  if (p.softcap > 0) {
    const float inverse = 1.0f / p.softcap;
    machine.lanes(
        [&](int lane, float(&s)[Shape::kKeys / 2], float(&constant)[2]) {
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            for_each_key<Shape>(lane, half, s,
                                [&](int, float& x) { x = soften<Machine>(x, constant[half], inverse, p.softcap); });
          }
        },
        scores, terms.constant);
  }
  if (p.alibi_slopes.data != nullptr) {
    machine.lanes(
        [&](int lane, float(&s)[Shape::kKeys / 2]) {
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            const Alibi alibi = alibi_of_row<Machine>(p, task, keys_of_row(p, task, row_of_lane(warp_row, lane, half)));
            const auto from_peak = static_cast<float>(first_key - alibi.peak);
            for_each_key<Shape>(lane, half, s, [&](int key, float& x) {
              x = __builtin_fmaf(alibi.slope, from_peak + static_cast<float>(key), x);
            });
          }
        },
        scores);
  }
  if (p.mask.data != nullptr) add_mask<Shape>(machine, p, task, warp_row, first_key, terms, scores);
  hide_keys<Shape>(machine, p, task, warp_row, first_key, scores);
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
            if (x != -__builtin_inff())
              x = x - apart[i / 2] + (i % 2 == 0 ? b.x : b.y);  // a hidden token may have no b
          }
        }
      },
      scores, maxima, offset);
  row_maxima(machine, scores, maxima);
}

}  // namespace octavo::cuda
