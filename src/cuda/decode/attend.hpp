// Attention over a key-value cache of s8 on a device. A thread block takes 16 query rows of a KV head and 512 keys, a
// warp 128 of them; one more block takes the kept keys. Each leaves a state that finish_decode_rows() folds:
//   m = max m_w,   l = sum l_w 2^(m_w - m),   O = sum O_w 2^(m_w - m), in the order of the keys
#pragma once

#include "cuda/decode/kept.hpp"
#include "cuda/decode/queries.hpp"
#include "cuda/decode/weights.hpp"

namespace octavo::cuda {

// Maximum and sum of a row in the block of one warp.
struct alignas(8) BlockRowState {
  float m, l;
};
// The largest maximum of the warps' blocks of row r.
template <int kDim, class Machine>
OCTAVO_DEVICE float split_maximum(Machine& machine, std::uint32_t r) {
  float m = -__builtin_inff();
  OCTAVO_UNROLL
  for (std::uint32_t w = 0; w < kDecodeWarps; ++w) {
    m = __builtin_fmaxf(
        m, machine.template shared<BlockRowState>(DecodeShared<kDim>::kStatesAt + 8 * (w * kDecodeRows + r)).m);
  }
  return m;
}
OCTAVO_INLINE bool is_nothing(float m) { return m == -__builtin_inff(); }

template <int kDim, class Machine>
OCTAVO_DEVICE void attend_split(Machine& machine, const DecodeParams& p, const DecodeTask& task, float* state) {
  using Shared = DecodeShared<kDim>;
  const auto warp = static_cast<std::uint32_t>(machine.warp());
  const std::int32_t start = task.split * static_cast<std::int32_t>(kDecodeSplit) + 128 * machine.warp();
  DecodeBlockState<Machine> block;
  DecodeWeights<Machine> weights;
  bool sees = false;  // some row of the tile
  for (std::int32_t r = 0; r < task.rows; ++r) {
    const auto keys =
        machine.template shared<RowKeys>(Shared::kRowsAt + static_cast<std::uint32_t>(r) * Shared::kRowBytes + 16);
    sees = sees || (keys.begin < start + 128 && keys.end > start);
  }
  if (sees) {
    Registers<Machine, float, kDecodeScores> scores;
    decode_qk<kDim>(machine, p, task, start, scores);
    finish_decode_scores<kDim>(machine, p, task, start, scores);
    decode_softmax(machine, p, task, start, scores, block, weights);
  } else {
    machine.lanes(
        [](int, float(&m)[2], float(&l)[2], float(&gamma)[2]) {
          for (int h = 0; h < 2; ++h) m[h] = -__builtin_inff(), l[h] = gamma[h] = 0;
        },
        block.m, block.l, block.gamma);
  }
  machine.lanes(
      [&](int lane, float(&m)[2], float(&l)[2]) {
        for (int h = 0; h < 2 && lane % 4 == 0; ++h) {
          const auto r = static_cast<std::uint32_t>(lane / 4 + 8 * h);
          machine.store_shared(Shared::kStatesAt + 8 * (warp * kDecodeRows + r), BlockRowState{m[h], l[h]});
        }
      },
      block.m, block.l);
  machine.sync("the maxima are known, the queries are done with");
  machine.lanes(
      [&](int lane, float(&m)[2], float(&gamma)[2]) {
        OCTAVO_UNROLL
        for (int h = 0; h < 2; ++h) {
          const float most = split_maximum<kDim>(machine, static_cast<std::uint32_t>(lane / 4 + 8 * h));
          const float share = is_nothing(m[h]) ? 0.0f : Machine::exp2(m[h] - most);
          gamma[h] = gamma[h] * share * spec::kCacheOutputUnit;
        }
      },
      block.m, block.gamma);
  const std::uint32_t output = warp * Shared::kOutputOfWarp;
  StripPointers<Machine> strips;
  if (sees) {
    find_strips(machine, p, task, start, p.cache.v, p.cache.v_columns, [](int lane) { return lane % 4 / 2; }, strips);
  }
  const auto columns = static_cast<std::int32_t>(p.cache.v_columns);
  OCTAVO_ROLLED
  for (int channel = 0; channel < kDim && channel < columns && sees; channel += 32) {
    Registers<Machine, float, 16> sums;
    decode_pv(machine, p, strips, weights, channel, sums);
    machine.lanes(
        [&](int lane, float(&s)[16], float(&gamma)[2]) {
          OCTAVO_UNROLL
          for (int h = 0; h < 2; ++h) {
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) {
              const auto r = static_cast<std::uint32_t>(lane / 4 + 8 * h);
              FourFloats four;
              OCTAVO_UNROLL
              for (int i = 0; i < 4; ++i) four.of[i] = s[4 * i + 2 * h + j] * gamma[h];
              machine.store_shared(
                  output + r * Shared::kFloatRow + 4 * static_cast<std::uint32_t>(channel + 8 * (lane % 4) + 4 * j),
                  four);
            }
          }
        },
        sums, block.gamma);
  }
  machine.sync("the blocks' sums are known");
  // A row by a warp, four channels by a lane.
  OCTAVO_ROLLED
  for (std::int32_t r = machine.warp(); r < task.rows; r += kDecodeWarps) {
    machine.lanes([&](int lane) {
      const auto row = static_cast<std::uint32_t>(r);
      const float most = split_maximum<kDim>(machine, row);
      BlockRowState of_block[kDecodeWarps];
      float l = 0;
      OCTAVO_UNROLL
      for (std::uint32_t w = 0; w < kDecodeWarps; ++w) {
        of_block[w] = machine.template shared<BlockRowState>(Shared::kStatesAt + 8 * (w * kDecodeRows + row));
        if (!is_nothing(of_block[w].m)) {
          l = __builtin_fmaf(of_block[w].l, Machine::exp2(of_block[w].m - most), l);
        } else if (of_block[w].l != of_block[w].l) {  // nothing but NaN
          l = of_block[w].l;
        }
      }
      if (lane == 0) {
        state[4 * r] = most, state[4 * r + 1] = l;
        state[4 * r + 2] = machine.template shared<float>(Shared::kRowsAt + row * Shared::kRowBytes + 8);
      }
      OCTAVO_ROLLED
      for (std::int32_t channel = 4 * lane; channel < columns; channel += 4 * kLanes) {
        FourFloats sum{};
        OCTAVO_UNROLL
        for (std::uint32_t w = 0; w < kDecodeWarps; ++w) {
          if (is_nothing(of_block[w].m)) continue;
          const auto part = machine.template shared<FourFloats>(w * Shared::kOutputOfWarp + row * Shared::kFloatRow +
                                                                4 * static_cast<std::uint32_t>(channel));
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) sum.of[i] = sum.of[i] + part.of[i];
        }
        *reinterpret_cast<FourFloats*>(state + p.state_rows * 4 + r * columns + channel) = sum;
      }
    });
  }
}

template <int kDim, class Machine>
OCTAVO_DEVICE void attend_cache_s8(Machine& machine, const DecodeParams& p) {
  const DecodeTask task = find_decode_task(machine, p);
  const bool of_kept = task.split == p.splits;
  // The first split also brings the rows' constants, whether or not it has keys.
  if (!of_kept && task.split != 0 && task.split * kDecodeSplit >= task.keys) return;
  prepare_decode_rows<kDim>(machine, p, task);
  float* const state = p.state_of(task.entry, task.head, task.tile, task.split);
  if (!of_kept) {
    attend_split<kDim>(machine, p, task, state);
    return;
  }
  OCTAVO_ROLLED
  for (std::int32_t r = machine.warp(); r < task.rows; r += kDecodeWarps) {
    attend_kept_row<kDim>(machine, p, task, r, state);
  }
}

}  // namespace octavo::cuda
