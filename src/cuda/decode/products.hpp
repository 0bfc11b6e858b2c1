// The two products of a warp over a block of 128 keys of a cache of s8 or s4, by mma.sync m16n8k32 on the cache's words
// (spec/cache_layout.hpp, decode/format.hpp). With lane = 4 g + t, in a group of 32 keys:
//   QK  index 4 t + b + 16 r of the product: channel b of word t + 4 r of eight (s8), channel of nibble 2 b + r of word
//       t of four (s4)
//   PV  index 4 t + b + 16 r: key 8 t + 4 r + b (s8), that of nibble 2 b + r of the lane's eight (s4): those whose
//       weights the lane has itself
// All sums are exact.
#pragma once

#include "cuda/decode/format.hpp"
#include "cuda/decode/tile.hpp"

namespace octavo::cuda {

// Where a lane's strips of a block begin: of each group of keys the one that it loads; null: no key is there.
template <DType kFormat, class Machine>
using StripPointers = Registers<Machine, const std::byte*, DecodeFormat<kFormat>::kGroups>;

// `strip_of_lane`: which of a group's strips the lane loads.
template <DType kFormat, class Machine, class StripOfLane>
OCTAVO_DEVICE void find_strips(Machine& machine, const DecodeParams& p, const DecodeTask& task, std::int32_t start,
                               const std::byte* data, std::int64_t columns, const StripOfLane& strip_of_lane,
                               StripPointers<kFormat, Machine>& strips) {
  using Format = DecodeFormat<kFormat>;
  machine.lanes(
      [&](int lane, const std::byte*(&strip)[Format::kGroups]) {
        OCTAVO_UNROLL
        for (int group = 0; group < Format::kGroups; ++group) {
          const std::int32_t token = start + Format::kGroupKeys * group + 16 * strip_of_lane(lane);
          const std::int64_t row = token < task.keys ? device_row(p.cache, task.slot, task.head, token) : -1;
          strip[group] = row < 0 ? nullptr : data + row * columns * Format::kBits / 8;
        }
      },
      strips);
}

// Registers r = 0, 1 of four operands B: operand i is b[2 i], b[2 i + 1]. `at(lane, r)`: byte in the lane's strip;
// negative: zeros. A word of s4 is both registers, its codes times 16.
template <DType kFormat, class Machine, class At>
OCTAVO_DEVICE void load_operands(Machine& machine, StripPointers<kFormat, Machine>& strips, int group, const At& at,
                                 Registers<Machine, std::uint32_t, 8>& b) {
  using Format = DecodeFormat<kFormat>;
  machine.lanes(
      [&](int lane, const std::byte*(&strip)[Format::kGroups], std::uint32_t(&words)[8]) {
        OCTAVO_UNROLL
        for (int r = 0; r < Format::kBits / 4; ++r) {
          const std::int32_t byte = at(lane, r);
          FourWords four{};
          if (strip[group] != nullptr && byte >= 0) four = *reinterpret_cast<const FourWords*>(strip[group] + byte);
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) {
            if constexpr (kFormat == DType::s4) {
              words[2 * i] = four.of[i] << 4 & 0xf0f0f0f0u, words[2 * i + 1] = four.of[i] & 0xf0f0f0f0u;
            } else {
              words[2 * i + r] = four.of[i];
            }
          }
        }
      },
      strips, b);
}

// Operand A of 32 channels from `channel` on, of a plane of Q's codes.
template <class Machine>
OCTAVO_DEVICE void load_query_plane(Machine& machine, DecodeShared shared, std::uint32_t plane, std::uint32_t channel,
                                    Registers<Machine, std::uint32_t, 4>& a) {
  machine.lanes(
      [&](int lane, std::uint32_t(&words)[4]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {
          const auto row = static_cast<std::uint32_t>(lane / 4 + 8 * (i % 2));
          const std::uint32_t column = channel + 4 * static_cast<std::uint32_t>(lane % 4 + 4 * (i / 2));
          words[i] =
              machine.template shared<std::uint32_t>(shared.code_plane(plane) + row * shared.code_row() + column);
        }
      },
      a);
}

// 256 high + low, exactly in s32, as f32; s4: low over the unit of its codes.
template <DType kFormat, int first, class Machine, int n>
OCTAVO_DEVICE void join_planes(Machine& machine, Registers<Machine, std::int32_t, 16>& high,
                               Registers<Machine, std::int32_t, 16>& low, Registers<Machine, float, n>& to) {
  constexpr float kInverse = 1.0f / DecodeFormat<kFormat>::kCodeUnit;
  if constexpr (DecodeFormat<kFormat>::kPlanes == 1) {
    machine.lanes(
        [](int, std::int32_t(&l)[16], float(&x)[n]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 16; ++i) x[first + i] = static_cast<float>(l[i]) * kInverse;
        },
        low, to);
  } else {
    machine.lanes(
        [](int, std::int32_t(&h)[16], std::int32_t(&l)[16], float(&x)[n]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 16; ++i) x[first + i] = static_cast<float>(256 * h[i] + l[i]);
        },
        high, low, to);
  }
}

template <DType kFormat, int kUnrolled, int group, class Machine>
OCTAVO_DEVICE void decode_qk_group(Machine& machine, const DecodeParams& p, DecodeShared shared,
                                   StripPointers<kFormat, Machine>& strips,
                                   Registers<Machine, float, kDecodeScores>& scores) {
  constexpr bool kHigh = DecodeFormat<kFormat>::kPlanes == 2;
  Registers<Machine, std::int32_t, 16> high, low;
  machine.lanes(
      [](int, std::int32_t(&h)[16], std::int32_t(&l)[16]) {
        for (int i = 0; i < 16; ++i) h[i] = l[i] = 0;
      },
      high, low);
  OCTAVO_ROLLED
  for (int first = 0; first < static_cast<int>(shared.dim); first += kUnrolled) {
    OCTAVO_UNROLL
    for (int within = 0; within < kUnrolled; within += 32) {
      const int channel = first + within;
      Registers<Machine, std::uint32_t, 8> b;
      load_operands<kFormat>(
          machine, strips, group,
          [&](int lane, int r) {
            const int key = lane / 4 % 4 * 16;  // bytes, of four keys each
            if constexpr (kFormat == DType::s4) {
              const int word = channel / 8 + lane % 4;
              return 8 * word < p.cache.k_columns ? word * 64 + key : -1;
            }
            const int word = channel / 4 + lane % 4 + 4 * r;
            return 4 * word < p.cache.k_columns ? word * 64 + key : -1;
          },
          b);
      Registers<Machine, std::uint32_t, 4> a_high, a_low;
      const auto from = static_cast<std::uint32_t>(channel);
      if constexpr (kHigh) load_query_plane(machine, shared, 1, from, a_high);
      load_query_plane(machine, shared, 0, from, a_low);
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) {
        if constexpr (kHigh) machine.template mma<Mma::s8s8>(high, 4 * i, a_high, 0, b, 2 * i);
        machine.template mma<Mma::s8s8>(low, 4 * i, a_low, 0, b, 2 * i);
      }
    }
  }
  join_planes<kFormat, 16 * group>(machine, high, low, scores);
}

// Q . K of the block, codes times codes; kUnrolled channels at a time.
template <DType kFormat, int kUnrolled, class Machine>
OCTAVO_DEVICE void decode_qk_codes(Machine& machine, const DecodeParams& p, DecodeShared shared, const DecodeTask& task,
                                   std::int32_t start, Registers<Machine, float, kDecodeScores>& scores) {
  StripPointers<kFormat, Machine> strips;
  find_strips<kFormat>(
      machine, p, task, start, p.cache.k, p.cache.k_columns, [](int lane) { return lane / 16; }, strips);
  decode_qk_group<kFormat, kUnrolled, 0>(machine, p, shared, strips, scores);
  decode_qk_group<kFormat, kUnrolled, 1>(machine, p, shared, strips, scores);
  decode_qk_group<kFormat, kUnrolled, 2>(machine, p, shared, strips, scores);
  decode_qk_group<kFormat, kUnrolled, 3>(machine, p, shared, strips, scores);
}

// Codes of weights as operand A: planes of bytes, group by group.
template <class Machine>
struct CodeWeights {
  Registers<Machine, std::uint32_t, 16> high, low;
};

// Sums of codes for 32 channels from `channel` on.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void decode_pv(Machine& machine, const DecodeParams& p, StripPointers<kFormat, Machine>& strips,
                             CodeWeights<Machine>& weights, int channel, Registers<Machine, float, 16>& sums) {
  constexpr bool kHigh = DecodeFormat<kFormat>::kPlanes == 2;
  Registers<Machine, std::int32_t, 16> high, low;
  const auto columns = static_cast<std::int32_t>(p.cache.v_columns);
  OCTAVO_UNROLL
  for (int group = 0; group < DecodeFormat<kFormat>::kGroups; ++group) {
    Registers<Machine, std::uint32_t, 8> b;
    load_operands<kFormat>(
        machine, strips, group,
        [&](int lane, int r) {
          const int c = channel + lane / 4 * 4;
          const int word = kFormat == DType::s4 ? lane % 2 : 2 * (lane % 2) + r;
          return c < columns ? (word * columns + c) * 4 : -1;
        },
        b);
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (group == 0) {
        if constexpr (kHigh) machine.template first_mma<Mma::u8s8>(high, 4 * i, weights.high, 0, b, 2 * i, 0);
        machine.template first_mma<Mma::u8s8>(low, 4 * i, weights.low, 0, b, 2 * i, 0);
      } else {
        if constexpr (kHigh) machine.template mma<Mma::u8s8>(high, 4 * i, weights.high, 4 * group, b, 2 * i);
        machine.template mma<Mma::u8s8>(low, 4 * i, weights.low, 4 * group, b, 2 * i);
      }
    }
  }
  join_planes<kFormat, 0>(machine, high, low, sums);
}

}  // namespace octavo::cuda
