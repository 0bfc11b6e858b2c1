// From the products of a block of 128 keys to its weights (docs/kv_cache.md), base 2, per row:
//   T_j = factor k_scale_j (Q . K)_j, modified (decode/terms.hpp), -infinity where a key is hidden or kept
//   r = max T_j,  w_j = 2^(T_j - r),  u_j = w_j v_scale_j,  c_j = rhe(R u_j / max u), R = 32767 (s4: 255)
// A block's state is m = r, l = sum w_j, and O = gamma sum c_j V_j with gamma = max u / R. Floats: c_j is not rounded,
// R is 2^14, and only e4m3 has scales.
#pragma once

#include <type_traits>

#include "cuda/attention/softmax.hpp"
#include "cuda/decode/float_products.hpp"
#include "cuda/decode/terms.hpp"

namespace octavo::cuda {

// A warp's block for the lane's rows, g and g + 8.
template <class Machine>
struct DecodeBlockState {
  Registers<Machine, float, 2> m, l, gamma;
};

// The f32 of a lane's eight keys, from an array of a value for each token; zeros where no key is.
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

// The modifications of the scores that their rows see by position. Rolled over the keys of an eight: their code is
// long.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void modify_decode_scores(Machine& machine, const DecodeParams& p, const DecodeTask& task,
                                        std::int32_t start, Registers<Machine, float, kDecodeScores>& scores) {
  machine.lanes(
      [&](int lane, float(&s)[kDecodeScores]) {
        OCTAVO_UNROLL
        for (int h = 0; h < 2; ++h) {
          const std::int32_t r = lane / 4 + 8 * h;
          if (r >= task.rows) continue;
          const std::uint32_t at = row_in_shared(r);
          const DecodeRow row = decode_row(p, task, r);
          const auto constant = machine.template shared<float>(at + 8);
          const auto seen = machine.template shared<RowKeys>(at + 16);
          const auto terms = machine.template shared<RowTermsOfCache>(at + 32);
          OCTAVO_UNROLL
          for (int eight = 0; eight < kEights; ++eight) {
            const std::int32_t first = start + first_key_of_lane<kFormat>(lane, eight);
            OCTAVO_ROLLED
            for (int k = 0; k < 8; ++k) {
              if (first + k < seen.begin || first + k >= seen.end) continue;  // a mask may not have it
              float x = 0;
              OCTAVO_UNROLL
              for (int i = 0; i < 8; ++i) {
                if (i == k) x = s[decode_score_index<kFormat>(eight, h, i)];
              }
              x = modified_score<Machine>(p, task, row, terms, constant, first + k, x);
              OCTAVO_UNROLL
              for (int i = 0; i < 8; ++i) {
                if (i == k) s[decode_score_index<kFormat>(eight, h, i)] = x;
              }
            }
          }
        }
      },
      scores);
}

// Products -> T, -infinity where a row does not see a key or keeps it.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void finish_decode_scores(Machine& machine, const DecodeParams& p, const DecodeTask& task,
                                        std::int32_t start, Registers<Machine, float, kDecodeScores>& scores) {
  const auto row_at = [](int lane, int h) { return row_in_shared(lane / 4 + 8 * h); };
  machine.lanes(
      [&](int lane, float(&s)[kDecodeScores]) {
        const float factors[2] = {machine.template shared<float>(row_at(lane, 0)),
                                  machine.template shared<float>(row_at(lane, 1))};
        OCTAVO_UNROLL
        for (int eight = 0; eight < kEights; ++eight) {
          float k_scale[8];
          if constexpr (DecodeFormat<kFormat>::kScales) {
            load_token_scales<Machine>(p, task, start + first_key_of_lane<kFormat>(lane, eight), p.cache.k_scale,
                                       k_scale);
          }
          OCTAVO_UNROLL
          for (int h = 0; h < 2; ++h) {
            OCTAVO_UNROLL
            for (int i = 0; i < 8; ++i) {
              float& x = s[decode_score_index<kFormat>(eight, h, i)];
              if constexpr (DecodeFormat<kFormat>::kScales) {
                x = x * (factors[h] * k_scale[i]);
              } else {
                x = x * factors[h];
              }
            }
          }
        }
      },
      scores);
  if (modifies_scores(p)) modify_decode_scores<kFormat>(machine, p, task, start, scores);
  machine.lanes(
      [&](int lane, float(&s)[kDecodeScores]) {
        OCTAVO_UNROLL
        for (int h = 0; h < 2; ++h) {
          const auto seen = machine.template shared<RowKeys>(row_at(lane, h) + 16);
          OCTAVO_UNROLL
          for (int eight = 0; eight < kEights; ++eight) {
            const std::int32_t first = start + first_key_of_lane<kFormat>(lane, eight);
            OCTAVO_UNROLL
            for (int i = 0; i < 8; ++i) {
              const std::int32_t key = first + i;
              bool hidden = key < seen.begin || key >= seen.end;
              if constexpr (DecodeFormat<kFormat>::kCodes) {
                hidden = hidden || (key >= seen.near_begin && key < seen.near_end) || (key == 0 && p.keeps());
              }
              if (hidden) s[decode_score_index<kFormat>(eight, h, i)] = -__builtin_inff();
            }
          }
        }
      },
      scores);
}

// Weights as the products take them: codes in planes of bytes, or numbers.
template <DType kFormat, class Machine>
using DecodeWeights = std::conditional_t<DecodeFormat<kFormat>::kCodes, CodeWeights<Machine>, FloatWeights<Machine>>;

// Key of an eight whose weight is byte b of register r of operand A.
template <DType kFormat>
OCTAVO_INLINE constexpr int key_of_weight(int r, int b) {
  return kFormat == DType::s4 ? static_cast<int>(spec::cache_nibble(2 * b + r)) : 4 * r + b;
}

// u -> its codes; gamma: what they stand for.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void code_weights(Machine& machine, Registers<Machine, float, kDecodeScores>& scores,
                                Registers<Machine, float, 2>& most, Registers<Machine, float, 2>& gamma,
                                CodeWeights<Machine>& weights) {
  machine.lanes(
      [](int, float(&s)[kDecodeScores], float(&best)[2], float(&g)[2], std::uint32_t(&high)[16],
         std::uint32_t(&low)[16]) {
        OCTAVO_UNROLL
        for (int h = 0; h < 2; ++h) {
          const spec::Scale code = spec::scale_of(best[h], DecodeFormat<kFormat>::kWeightRange);
          g[h] = code.scale;
          OCTAVO_UNROLL
          for (int eight = 0; eight < kEights; ++eight) {
            OCTAVO_UNROLL
            for (int r = 0; r < 2; ++r) {
              std::uint32_t bits[4];
              OCTAVO_UNROLL
              for (int b = 0; b < 4; ++b) {
                const float u = s[decode_score_index<kFormat>(eight, h, key_of_weight<kFormat>(r, b))];
                bits[b] = bits_of_f32(__builtin_fmaf(u, code.inverse, kRounding));
              }
              low[4 * eight + h + 2 * r] = Machine::low_bytes(bits[0], bits[1], bits[2], bits[3]);
              if constexpr (DecodeFormat<kFormat>::kPlanes == 1) continue;
              high[4 * eight + h + 2 * r] = Machine::low_bytes(bits[0] >> 8, bits[1] >> 8, bits[2] >> 8, bits[3] >> 8);
            }
          }
        }
      },
      scores, most, gamma, weights.high, weights.low);
}

// The same for floats: u to the scale of the products' planes, and which keys count for some row of the tile.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void code_weights(Machine& machine, Registers<Machine, float, kDecodeScores>& scores,
                                Registers<Machine, float, 2>& most, Registers<Machine, float, 2>& gamma,
                                FloatWeights<Machine>& weights) {
  machine.lanes(
      [](int, float(&s)[kDecodeScores], float(&best)[2], float(&g)[2], float(&numbers)[kDecodeScores],
         std::uint32_t(&used)[1]) {
        used[0] = 0;
        OCTAVO_UNROLL
        for (int h = 0; h < 2; ++h) {
          const spec::Scale scale = spec::scale_of(best[h], DecodeFormat<kFormat>::kWeightRange);
          g[h] = scale.scale * spec::cache_product_unit(kFormat);
          OCTAVO_UNROLL
          for (int eight = 0; eight < kEights; ++eight) {
            OCTAVO_UNROLL
            for (int i = 0; i < 8; ++i) {
              const int at = decode_score_index<kFormat>(eight, h, i);
              used[0] |= s[at] != 0 ? 1u << (8 * eight + i) : 0u;
              numbers[at] = s[at] * scale.inverse;
            }
          }
        }
      },
      scores, most, gamma, weights.numbers, weights.used);
  OCTAVO_UNROLL
  for (int mask = 4; mask < kLanes; mask *= 2) {  // lanes of the same keys
    Registers<Machine, std::uint32_t, 1> other;
    machine.shuffle_xor(other, weights.used, mask);
    machine.lanes([](int, std::uint32_t(&a)[1], std::uint32_t(&b)[1]) { a[0] |= b[0]; }, weights.used, other);
  }
}

// T -> weights and the block's state, gamma without the split's share.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void decode_softmax(Machine& machine, const DecodeParams& p, const DecodeTask& task, std::int32_t start,
                                  Registers<Machine, float, kDecodeScores>& scores, DecodeBlockState<Machine>& state,
                                  DecodeWeights<kFormat, Machine>& weights) {
  row_maxima(machine, scores, state.m);
  Registers<Machine, float, 2> most;
  machine.lanes(
      [&](int lane, float(&s)[kDecodeScores], float(&m)[2], float(&l)[2], float(&best)[2]) {
        l[0] = l[1] = best[0] = best[1] = 0;
        OCTAVO_UNROLL
        for (int eight = 0; eight < kEights; ++eight) {
          float v_scale[8];
          if constexpr (DecodeFormat<kFormat>::kScales) {
            load_token_scales<Machine>(p, task, start + first_key_of_lane<kFormat>(lane, eight), p.cache.v_scale,
                                       v_scale);
          }
          OCTAVO_UNROLL
          for (int h = 0; h < 2; ++h) {
            OCTAVO_UNROLL
            for (int i = 0; i < 8; ++i) {
              float& x = s[decode_score_index<kFormat>(eight, h, i)];
              const bool hidden = x == -__builtin_inff();
              // A row of nothing but NaN has no maximum: its sum is NaN.
              const float w = Machine::exp2(x - (m[h] == -__builtin_inff() ? 0.0f : m[h]));
              float u = w, counted = w;
              if constexpr (DecodeFormat<kFormat>::kScales) {
                u = w * v_scale[i];
                counted = __builtin_fmaf(v_scale[i], 0.0f, w);  // NaN where the token of V is not finite
              }
              l[h] += hidden ? 0.0f : counted;
              x = hidden || !is_finite(u) ? 0.0f : u;
              best[h] = __builtin_fmaxf(best[h], x);
            }
          }
        }
      },
      scores, state.m, state.l, most);
  sum_over<4>(machine, state.l);
  max_over<4>(machine, most);
  code_weights<kFormat>(machine, scores, most, state.gamma, weights);
}

}  // namespace octavo::cuda
