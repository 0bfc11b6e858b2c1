// The two products of a warp over a block of 128 keys of a cache of s8, by mma.sync m16n8k32. Words of the cache are
// operands as they lie (spec/cache_layout.hpp): a lane loads 16 bytes, four neighbouring words, which are the same
// register of four operands B side by side. So no key or value passes through shared memory. With lane = 4 g + t, in
// a group of 32 keys:
//   QK  operand i of four, column g: key 16 (g / 4) + 4 (g % 4) + i. A lane gets the scores of keys 8 t .. 8 t + 7:
//       element 4 i + 2 h + j of a group is row g + 8 h, key 8 t + 4 j + i
//   PV  index 4 t + b + 16 r of the product: key 8 t + 4 r + b, whose weights the lane has itself; operand i, column
//       g: channel 4 g + i of 32. A lane gets channels 8 t .. 8 t + 7: element 4 i + 2 h + j is channel 8 t + 4 j + i
// Q and the weights have 16 and 15 bits, two planes of codes each: x = 256 high + low. All sums are exact.
#pragma once

#include "cuda/decode/tile.hpp"

namespace octavo::cuda {

inline constexpr int kKeyGroups = 4;  // of 32 keys in a block

// Where a lane's strips of a block begin: of each group of 32 keys the one that it loads; null: no key is there.
template <class Machine>
using StripPointers = Registers<Machine, const std::byte*, kKeyGroups>;

// `strip_of_lane`: which of a group's two strips the lane loads.
template <class Machine, class StripOfLane>
OCTAVO_DEVICE void find_strips(Machine& machine, const DecodeParams& p, const DecodeTask& task, std::int32_t start,
                               const std::byte* data, std::int64_t columns, const StripOfLane& strip_of_lane,
                               StripPointers<Machine>& strips) {
  machine.lanes(
      [&](int lane, const std::byte*(&strip)[kKeyGroups]) {
        OCTAVO_UNROLL
        for (int group = 0; group < kKeyGroups; ++group) {
          const std::int32_t token = start + 32 * group + 16 * strip_of_lane(lane);
          const std::int64_t row = token < task.keys ? device_row(p.cache, task.slot, task.head, token) : -1;
          strip[group] = row < 0 ? nullptr : data + row * columns;
        }
      },
      strips);
}

// Registers r = 0, 1 of four operands B: operand i is b[2 i], b[2 i + 1]. `at(lane, r)`: byte in the lane's strip;
// negative: zeros.
template <class Machine, class At>
OCTAVO_DEVICE void load_operands(Machine& machine, StripPointers<Machine>& strips, int group, const At& at,
                                 Registers<Machine, std::uint32_t, 8>& b) {
  machine.lanes(
      [&](int lane, const std::byte*(&strip)[kKeyGroups], std::uint32_t(&words)[8]) {
        OCTAVO_UNROLL
        for (int r = 0; r < 2; ++r) {
          const std::int32_t byte = at(lane, r);
          FourWords four{};
          if (strip[group] != nullptr && byte >= 0) four = *reinterpret_cast<const FourWords*>(strip[group] + byte);
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) words[2 * i + r] = four.of[i];
        }
      },
      strips, b);
}

// Operand A of 32 channels from `channel` on, of a plane of Q.
template <int kDim, class Machine>
OCTAVO_DEVICE void load_query_plane(Machine& machine, std::uint32_t plane, std::uint32_t channel,
                                    Registers<Machine, std::uint32_t, 4>& a) {
  using Shared = DecodeShared<kDim>;
  machine.lanes(
      [&](int lane, std::uint32_t(&words)[4]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {
          const auto row = static_cast<std::uint32_t>(lane / 4 + 8 * (i % 2));
          const std::uint32_t column = channel + 4 * static_cast<std::uint32_t>(lane % 4 + 4 * (i / 2));
          words[i] = machine.template shared<std::uint32_t>(plane + row * Shared::kPlaneRow + column);
        }
      },
      a);
}

// 256 high + low, exactly in s32, as f32.
template <int first, class Machine, int n>
OCTAVO_DEVICE void join_planes(Machine& machine, Registers<Machine, std::int32_t, 16>& high,
                               Registers<Machine, std::int32_t, 16>& low, Registers<Machine, float, n>& to) {
  machine.lanes(
      [](int, std::int32_t(&h)[16], std::int32_t(&l)[16], float(&x)[n]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 16; ++i) x[first + i] = static_cast<float>(256 * h[i] + l[i]);
      },
      high, low, to);
}

template <int kDim, int group, class Machine>
OCTAVO_DEVICE void decode_qk_group(Machine& machine, const DecodeParams& p, StripPointers<Machine>& strips,
                                   Registers<Machine, float, 16 * kKeyGroups>& scores) {
  using Shared = DecodeShared<kDim>;
  constexpr int kUnrolled = kDim < 128 ? kDim : 128;  // loads of more at once would spill registers
  Registers<Machine, std::int32_t, 16> high, low;
  machine.lanes(
      [](int, std::int32_t(&h)[16], std::int32_t(&l)[16]) {
        for (int i = 0; i < 16; ++i) h[i] = l[i] = 0;
      },
      high, low);
  OCTAVO_ROLLED
  for (int first = 0; first < kDim; first += kUnrolled) {
    OCTAVO_UNROLL
    for (int within = 0; within < kUnrolled; within += 32) {
      const int channel = first + within;
      Registers<Machine, std::uint32_t, 8> b;
      load_operands(
          machine, strips, group,
          [&](int lane, int r) {
            const int word = channel / 4 + lane % 4 + 4 * r;
            return 4 * word < p.cache.k_columns ? word * 64 + lane / 4 % 4 * 16 : -1;
          },
          b);
      Registers<Machine, std::uint32_t, 4> a_high, a_low;
      load_query_plane<kDim>(machine, Shared::kHighAt, static_cast<std::uint32_t>(channel), a_high);
      load_query_plane<kDim>(machine, Shared::kLowAt, static_cast<std::uint32_t>(channel), a_low);
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) {
        machine.template mma<Mma::s8s8>(high, 4 * i, a_high, 0, b, 2 * i);
        machine.template mma<Mma::s8s8>(low, 4 * i, a_low, 0, b, 2 * i);
      }
    }
  }
  join_planes<16 * group>(machine, high, low, scores);
}

// Q . K of the block, codes times codes.
template <int kDim, class Machine>
OCTAVO_DEVICE void decode_qk(Machine& machine, const DecodeParams& p, const DecodeTask& task, std::int32_t start,
                             Registers<Machine, float, 16 * kKeyGroups>& scores) {
  StripPointers<Machine> strips;
  find_strips(machine, p, task, start, p.cache.k, p.cache.k_columns, [](int lane) { return lane / 16; }, strips);
  decode_qk_group<kDim, 0>(machine, p, strips, scores);
  decode_qk_group<kDim, 1>(machine, p, strips, scores);
  decode_qk_group<kDim, 2>(machine, p, strips, scores);
  decode_qk_group<kDim, 3>(machine, p, strips, scores);
}

// Codes of weights as operand A: planes of bytes, group by group.
template <class Machine>
struct DecodeWeights {
  Registers<Machine, std::uint32_t, 4 * kKeyGroups> high, low;
};

// Sums of codes for 32 channels from `channel` on.
template <class Machine>
OCTAVO_DEVICE void decode_pv(Machine& machine, const DecodeParams& p, StripPointers<Machine>& strips,
                             DecodeWeights<Machine>& weights, int channel, Registers<Machine, float, 16>& sums) {
  Registers<Machine, std::int32_t, 16> high, low;
  const auto columns = static_cast<std::int32_t>(p.cache.v_columns);
  OCTAVO_UNROLL
  for (int group = 0; group < kKeyGroups; ++group) {
    Registers<Machine, std::uint32_t, 8> b;
    load_operands(
        machine, strips, group,
        [&](int lane, int r) {
          const int c = channel + lane / 4 * 4;
          return c < columns ? ((2 * (lane % 2) + r) * columns + c) * 4 : -1;
        },
        b);
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (group == 0) {
        machine.template first_mma<Mma::u8s8>(high, 4 * i, weights.high, 0, b, 2 * i, 0);
        machine.template first_mma<Mma::u8s8>(low, 4 * i, weights.low, 0, b, 2 * i, 0);
      } else {
        machine.template mma<Mma::u8s8>(high, 4 * i, weights.high, 4 * group, b, 2 * i);
        machine.template mma<Mma::u8s8>(low, 4 * i, weights.low, 4 * group, b, 2 * i);
      }
    }
  }
  join_planes<0>(machine, high, low, sums);
}

}  // namespace octavo::cuda
