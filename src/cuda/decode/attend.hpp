// Attention over a key-value cache on a device. A thread block takes 16 query rows of a KV head and 512 keys, a
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
OCTAVO_INLINE constexpr std::uint32_t state_in_shared(std::uint32_t warp, std::uint32_t row) {
  return DecodeShared::kStatesAt + 8 * (warp * kDecodeRows + row);
}
// The largest maximum of the warps' blocks of row r.
template <class Machine>
OCTAVO_DEVICE float split_maximum(Machine& machine, std::uint32_t r) {
  float m = -__builtin_inff();
  OCTAVO_UNROLL
  for (std::uint32_t w = 0; w < kDecodeWarps; ++w) {
    m = __builtin_fmaxf(m, machine.template shared<BlockRowState>(state_in_shared(w, r)).m);
  }
  return m;
}
OCTAVO_INLINE bool is_nothing(float m) { return m == -__builtin_inff(); }

template <DType kFormat, int kUnrolled, class Machine>
OCTAVO_DEVICE void attend_split(Machine& machine, const DecodeParams& p, DecodeShared shared, const DecodeTask& task,
                                float* state) {
  const auto warp = static_cast<std::uint32_t>(machine.warp());
  const std::int32_t start = task.split * static_cast<std::int32_t>(kDecodeSplit) + 128 * machine.warp();
  DecodeBlockState<Machine> block;
  DecodeWeights<kFormat, Machine> weights;
  bool sees = false;  // some row of the tile
  for (std::int32_t r = 0; r < task.rows; ++r) {
    const auto keys = machine.template shared<RowKeys>(row_in_shared(r) + 16);
    sees = sees || (keys.begin < start + 128 && keys.end > start);
  }
  if (sees) {
    Registers<Machine, float, kDecodeScores> scores;
    if constexpr (DecodeFormat<kFormat>::kCodes) {
      decode_qk_codes<kFormat, kUnrolled>(machine, p, shared, task, start, scores);
    } else {
      decode_qk_floats<kFormat>(machine, p, shared, task, start, scores);
    }
    finish_decode_scores<kFormat>(machine, p, task, start, scores);
    decode_softmax<kFormat>(machine, p, task, start, scores, block, weights);
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
          machine.store_shared(state_in_shared(warp, r), BlockRowState{m[h], l[h]});
        }
      },
      block.m, block.l);
  machine.sync("the maxima are known, the queries are done with");
  machine.lanes(
      [&](int lane, float(&m)[2], float(&gamma)[2]) {
        OCTAVO_UNROLL
        for (int h = 0; h < 2; ++h) {
          const float most = split_maximum(machine, static_cast<std::uint32_t>(lane / 4 + 8 * h));
          const float share = is_nothing(m[h]) ? 0.0f : Machine::exp2(m[h] - most);
          gamma[h] = gamma[h] * share * spec::kCacheOutputUnit;
        }
      },
      block.m, block.gamma);
  StripPointers<kFormat, Machine> strips;
  if (sees) {
    constexpr int kLanesOfStrip = DecodeFormat<kFormat>::kCodes ? 2 : 1;
    find_strips<kFormat>(
        machine, p, task, start, p.cache.v, p.cache.v_columns, [](int lane) { return lane % 4 / kLanesOfStrip; },
        strips);
  }
  const auto columns = static_cast<std::int32_t>(p.cache.v_columns);
  constexpr int kRun = DecodeFormat<kFormat>::kRun;
  OCTAVO_ROLLED
  for (int channel = 0; channel < columns && sees; channel += 8 * kRun) {
    Registers<Machine, float, 4 * kRun> sums;
    decode_pv<kFormat>(machine, p, strips, weights, channel, sums);
    machine.lanes(
        [&](int lane, float(&s)[4 * kRun], float(&gamma)[2]) {
          OCTAVO_UNROLL
          for (int part = 0; part < kRun; ++part) {  // four neighbouring channels of a row
            const int h = part / (kRun / 2), j = part / (kRun / 4) % 2, first = part % (kRun / 4) * 4;
            const auto r = static_cast<std::uint32_t>(lane / 4 + 8 * h);
            FourFloats four;
            OCTAVO_UNROLL
            for (int i = 0; i < 4; ++i) four.of[i] = s[4 * (first + i) + 2 * h + j] * gamma[h];
            const auto c = static_cast<std::uint32_t>(channel + kRun * (2 * (lane % 4) + j) + first);
            if (c < shared.dim) machine.store_shared(shared.output(warp, r) + 4 * c, four);
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
      const float most = split_maximum(machine, row);
      BlockRowState of_block[kDecodeWarps];
      float l = 0;
      OCTAVO_UNROLL
      for (std::uint32_t w = 0; w < kDecodeWarps; ++w) {
        of_block[w] = machine.template shared<BlockRowState>(state_in_shared(w, row));
        if (!is_nothing(of_block[w].m)) {
          l = __builtin_fmaf(of_block[w].l, Machine::exp2(of_block[w].m - most), l);
        } else if (of_block[w].l != of_block[w].l) {  // nothing but NaN
          l = of_block[w].l;
        }
      }
      if (lane == 0) {
        state[4 * r] = most, state[4 * r + 1] = l;
        state[4 * r + 2] = machine.template shared<float>(row_in_shared(r) + 8);
        state[4 * r + 3] = machine.template shared<float>(row_in_shared(r) + 12);
      }
      OCTAVO_ROLLED
      for (std::int32_t channel = 4 * lane; channel < columns; channel += 4 * kLanes) {
        FourFloats sum{};
        OCTAVO_UNROLL
        for (std::uint32_t w = 0; w < kDecodeWarps; ++w) {
          if (is_nothing(of_block[w].m)) continue;
          const auto part =
              machine.template shared<FourFloats>(shared.output(w, row) + 4 * static_cast<std::uint32_t>(channel));
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) sum.of[i] = sum.of[i] + part.of[i];
        }
        *reinterpret_cast<FourFloats*>(state + p.state_rows * 4 + r * columns + channel) = sum;
      }
    });
  }
}

// kDim: channels of K and V, padded; 0: any.
template <DType kFormat, int kDim, class Machine>
OCTAVO_DEVICE void attend_cache(Machine& machine, const DecodeParams& p) {
  begin_kernel(machine);
  constexpr int kMostDim = kDim == 0 ? 256 : kDim;
  constexpr int kUnrolled = kDim == 0 || kDim == 64 ? 64 : 128;  // loads of more channels at once would spill registers
  const DecodeShared shared{kDim == 0 ? static_cast<std::uint32_t>(p.dim) : kDim};
  const DecodeTask task = find_decode_task(machine, p);
  const bool of_kept = task.split == p.splits;
  if (task.rows <= 0) return;  // the entry has fewer rows than others
  // The first split also brings the rows' constants, whether or not it has keys.
  if (!of_kept && task.split != 0 && task.split * kDecodeSplit >= task.keys) return;
  prepare_decode_rows<kFormat, kMostDim / kLanes>(machine, p, shared, task);
  float* const state = p.state_of(task.entry, task.head, task.tile, task.split);
  if (!of_kept) {
    attend_split<kFormat, kUnrolled>(machine, p, shared, task, state);
    return;
  }
  if constexpr (DecodeFormat<kFormat>::kCodes) {
    OCTAVO_ROLLED
    for (std::int32_t r = machine.warp(); r < task.rows; r += kDecodeWarps) {
      attend_kept_row(machine, p, shared, task, r, state);
    }
  }
}

}  // namespace octavo::cuda
