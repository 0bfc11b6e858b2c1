// From the products of a block of 128 keys to the codes of its weights (docs/kv_cache.md), base 2, per row:
//   T_j = factor k_scale_j (Q . K)_j (softcap: c tanh), -infinity where a key is hidden or kept
//   r = max T_j,  w_j = 2^(T_j - r),  u_j = w_j v_scale_j,  c_j = rhe(32767 u_j / max u)
// A block's state is m = r, l = sum w_j, and O = gamma sum c_j V_j with gamma = max u / 32767.
#pragma once

#include "cuda/attention/score_mod.hpp"
#include "cuda/attention/softmax.hpp"
#include "cuda/decode/products.hpp"

namespace octavo::cuda {

inline constexpr int kDecodeScores = 16 * kKeyGroups;  // of a lane: two rows of 32 keys each

// A warp's block for the lane's rows, g and g + 8.
template <class Machine>
struct DecodeBlockState {
  Registers<Machine, float, 2> m, l, gamma;
};

// Keys of a lane in group `group`: 8 from here on, counted from the block's first.
OCTAVO_INLINE constexpr std::int32_t first_key_of_lane(int lane, int group) { return 32 * group + 8 * (lane % 4); }
// Element of the lane's scores: row half h, key 4 j + i of the eight.
OCTAVO_INLINE constexpr int decode_score_index(int group, int h, int key) {
  return 16 * group + 4 * (key % 4) + 2 * h + key / 4;
}

// The lane's eight f32 of a group, from an array of a value for each token; zeros where no key is.
template <class Machine>
OCTAVO_DEVICE void load_token_scales(const DecodeParams& p, const DecodeTask& task, std::int32_t first,
                                     const float* scales, float (&to)[8]) {
  const std::int64_t row = first < task.keys ? device_row(p.cache, task.slot, task.head, first) : -1;
  OCTAVO_UNROLL
  for (int half = 0; half < 2; ++half) {
    FourFloats four{};
    if (row >= 0) four = *reinterpret_cast<const FourFloats*>(scales + row + 4 * half);
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) to[4 * half + i] = four.of[i];
  }
}

// Products -> T. `plain`: the block's rows see all its keys and nothing but factors changes scores.
template <int kDim, class Machine>
OCTAVO_DEVICE void finish_decode_scores(Machine& machine, const DecodeParams& p, const DecodeTask& task,
                                        std::int32_t start, Registers<Machine, float, kDecodeScores>& scores) {
  using Shared = DecodeShared<kDim>;
  const bool masks = has_key_masks(p);
  machine.lanes(
      [&](int lane, float(&s)[kDecodeScores]) {
        FourFloats factors[2];
        RowKeys seen[2];
        std::int32_t query[2];
        OCTAVO_UNROLL
        for (int h = 0; h < 2; ++h) {
          const std::int32_t r = lane / 4 + 8 * h;
          const std::uint32_t at = Shared::kRowsAt + static_cast<std::uint32_t>(r) * Shared::kRowBytes;
          OCTAVO_UNROLL
          for (std::uint32_t i = 0; i < 3; ++i) factors[h].of[i] = machine.template shared<float>(at + 4 * i);
          seen[h] = machine.template shared<RowKeys>(at + 16);
          query[h] = decode_row(p, task, r < task.rows ? r : 0).query;
        }
        OCTAVO_UNROLL
        for (int group = 0; group < kKeyGroups; ++group) {
          const std::int32_t first = start + first_key_of_lane(lane, group);
          float k_scale[8];
          load_token_scales<Machine>(p, task, first, p.cache.k_scale, k_scale);
          OCTAVO_UNROLL
          for (int h = 0; h < 2; ++h) {
            OCTAVO_UNROLL
            for (int i = 0; i < 8; ++i) {
              const std::int32_t key = first + i;
              float& x = s[decode_score_index(group, h, i)];
              x = x * (factors[h].of[0] * k_scale[i]);
              if (p.softcap > 0) x = apply_softcap<Machine>(x, factors[h].of[2], 1.0f / p.softcap, p.softcap);
              const bool kept = (key >= seen[h].near_begin && key < seen[h].near_end) || (key == 0 && p.keeps());
              if (key < seen[h].begin || key >= seen[h].end || kept || (masks && hides_key(p, task, query[h], key))) {
                x = -__builtin_inff();
              }
            }
          }
        }
      },
      scores);
}

// T -> w (in place) and the block's state, gamma without the factor of the codes; `most`: max u.
template <class Machine>
OCTAVO_DEVICE void decode_softmax(Machine& machine, const DecodeParams& p, const DecodeTask& task, std::int32_t start,
                                  Registers<Machine, float, kDecodeScores>& scores, DecodeBlockState<Machine>& state,
                                  DecodeWeights<Machine>& weights) {
  row_maxima(machine, scores, state.m);
  Registers<Machine, float, 2> most;
  machine.lanes(
      [&](int lane, float(&s)[kDecodeScores], float(&m)[2], float(&l)[2], float(&best)[2]) {
        l[0] = l[1] = best[0] = best[1] = 0;
        OCTAVO_UNROLL
        for (int group = 0; group < kKeyGroups; ++group) {
          float v_scale[8];
          load_token_scales<Machine>(p, task, start + first_key_of_lane(lane, group), p.cache.v_scale, v_scale);
          OCTAVO_UNROLL
          for (int h = 0; h < 2; ++h) {
            OCTAVO_UNROLL
            for (int i = 0; i < 8; ++i) {
              float& x = s[decode_score_index(group, h, i)];
              const bool hidden = x == -__builtin_inff();
              // A row of nothing but NaN has no maximum: its sum is NaN.
              const float w = Machine::exp2(x - (m[h] == -__builtin_inff() ? 0.0f : m[h]));
              const float u = w * v_scale[i];
              // NaN where the token of V is not finite.
              l[h] += hidden ? 0.0f : __builtin_fmaf(v_scale[i], 0.0f, w);
              x = hidden || !is_finite(u) ? 0.0f : u;
              best[h] = __builtin_fmaxf(best[h], x);
            }
          }
        }
      },
      scores, state.m, state.l, most);
  sum_over<4>(machine, state.l);
  max_over<4>(machine, most);
  machine.lanes(
      [](int, float(&s)[kDecodeScores], float(&best)[2], float(&gamma)[2], std::uint32_t(&high)[4 * kKeyGroups],
         std::uint32_t(&low)[4 * kKeyGroups]) {
        OCTAVO_UNROLL
        for (int h = 0; h < 2; ++h) {
          const spec::Scale code = spec::scale_of(best[h], spec::cache_weight_range(DType::s8));
          gamma[h] = code.scale;
          OCTAVO_UNROLL
          for (int group = 0; group < kKeyGroups; ++group) {
            OCTAVO_UNROLL
            for (int r = 0; r < 2; ++r) {
              std::uint32_t bits[4];
              OCTAVO_UNROLL
              for (int b = 0; b < 4; ++b) {
                bits[b] =
                    bits_of_f32(__builtin_fmaf(s[decode_score_index(group, h, 4 * r + b)], code.inverse, kRounding));
              }
              low[4 * group + h + 2 * r] = Machine::low_bytes(bits[0], bits[1], bits[2], bits[3]);
              high[4 * group + h + 2 * r] = Machine::low_bytes(bits[0] >> 8, bits[1] >> 8, bits[2] >> 8, bits[3] >> 8);
            }
          }
        }
      },
      scores, most, state.gamma, weights.high, weights.low);
}

}  // namespace octavo::cuda
