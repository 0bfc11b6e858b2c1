// The two products of a warp over a block of 128 keys of a cache of f32, f16, bf16 or e4m3, by mma.sync m16n8k16, sums
// in f32 (decode/format.hpp). The cache has neighbouring keys of a channel of K side by side, and neighbouring channels
// of a token of V; a register of B holds two channels, or two tokens. So a lane loads eights of four of them and joins
// the halves of words. With lane = 4 g + t, in a group of 64 keys:
//   QK  indices 2 t, 2 t + 1, 2 t + 8, 2 t + 9 of 16: channels 4 t .. 4 t + 3; the lane's eight keys: 8 g ..
//   PV  the same indices of step s of four: keys 16 t + 4 s .. + 3, whose weights the lane has itself; its eight
//       channels: 8 g .. of 64
// e4m3 becomes f16: the number over 256 has the code's bits.
#pragma once

#include "cuda/decode/products.hpp"
#include "cuda/operands/bf16_planes.hpp"

namespace octavo::cuda {

// Eight elements of a cache as pairs of 16-bit numbers: words[j] holds elements 2 j and 2 j + 1 (e4m3: 4 (j / 2) + j %
// 2 and the second one after it). f32: one by one.
template <DType kFormat>
struct EightNumbers {
  std::uint32_t words[kFormat == DType::f32 ? 8 : 4];
};
template <DType kFormat>
OCTAVO_DEVICE EightNumbers<kFormat> load_eight(const std::byte* from) {
  EightNumbers<kFormat> eight{};
  if (from == nullptr) return eight;
  if constexpr (kFormat == DType::f32) {
    OCTAVO_UNROLL
    for (int half = 0; half < 2; ++half) {
      const auto four = *reinterpret_cast<const FourWords*>(from + 16 * half);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) eight.words[4 * half + j] = four.of[j];
    }
  } else if constexpr (kFormat == DType::e4m3) {
    struct alignas(8) TwoWords {
      std::uint32_t of[2];
    };
    const auto two = *reinterpret_cast<const TwoWords*>(from);
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      const std::uint32_t bytes = j % 2 == 0 ? two.of[j / 2] << 8 : two.of[j / 2];  // in the upper halves
      eight.words[j] = (bytes & 0x80008000u) | (bytes >> 1 & 0x3f803f80u);
    }
  } else {
    const auto four = *reinterpret_cast<const FourWords*>(from);
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) eight.words[j] = four.of[j];
  }
  return eight;
}
// Element i of two eights as a register.
template <DType kFormat>
OCTAVO_DEVICE std::uint32_t pair_of_eights(const EightNumbers<kFormat>& first, const EightNumbers<kFormat>& second,
                                           int i) {
  const int word = kFormat == DType::e4m3 ? i / 4 * 2 + i % 2 : i / 2;
  const bool upper = kFormat == DType::e4m3 ? i / 2 % 2 != 0 : i % 2 != 0;
  const std::uint32_t a = first.words[word], b = second.words[word];
  return upper ? a >> 16 | (b & 0xffff0000u) : (a & 0xffffu) | b << 16;
}

// Registers of eight operands B from four eights: operand i is words[2 i], words[2 i + 1], of further planes 16 words
// on.
template <DType kFormat>
constexpr int kOperandWords = 16 * DecodeFormat<kFormat>::kCachePlanes;
template <DType kFormat>
OCTAVO_DEVICE void join_eights(const EightNumbers<kFormat> (&eights)[4],
                               std::uint32_t (&words)[kOperandWords<kFormat>]) {
  OCTAVO_UNROLL
  for (int i = 0; i < 16; ++i) {
    const EightNumbers<kFormat>&first = eights[i % 2 * 2], &second = eights[i % 2 * 2 + 1];
    if constexpr (kFormat == DType::f32) {
      std::uint32_t planes[kPlanesOfF32];
      split_pair(f32_of_bits(first.words[i / 2]), f32_of_bits(second.words[i / 2]), planes);
      OCTAVO_UNROLL
      for (int plane = 0; plane < kPlanesOfF32; ++plane) words[16 * plane + i] = planes[plane];
    } else {
      words[i] = pair_of_eights<kFormat>(first, second, i / 2);
    }
  }
}

// The next plane of a pair, which is left with what the plane does not hold.
template <DType kFormat, class Machine>
OCTAVO_DEVICE std::uint32_t take_plane(float& a, float& b) {
  if constexpr (DecodeFormat<kFormat>::kBf16) return take_upper_halves(a, b);
  const std::uint32_t pair = Machine::pack_f16(a, b);
  a = a - Machine::from_f16(static_cast<std::uint16_t>(pair));
  b = b - Machine::from_f16(static_cast<std::uint16_t>(pair >> 16));
  return pair;
}

struct alignas(8) WordPair {
  std::uint32_t first, second;
};

template <DType kFormat, int group, class Machine>
OCTAVO_DEVICE void decode_qk_group(Machine& machine, const DecodeParams& p, DecodeShared shared,
                                   StripPointers<kFormat, Machine>& strips,
                                   Registers<Machine, float, kDecodeScores>& scores) {
  using Format = DecodeFormat<kFormat>;
  const auto columns = static_cast<std::int32_t>(p.cache.k_columns);
  // Of an f32 cache the smaller products have sums of their own: every product cuts digits of its sum off.
  Registers<Machine, float, 32> small;
  if constexpr (Format::kCachePlanes > 1) clear<Machine, float, 32>(machine, small);
  OCTAVO_ROLLED
  for (int first = 0; first < columns; first += 64) {
    OCTAVO_UNROLL
    for (int within = 0; within < 64; within += 16) {
      Registers<Machine, std::uint32_t, kOperandWords<kFormat>> b;
      machine.lanes(
          [&](int lane, const std::byte*(&strip)[Format::kGroups], std::uint32_t(&words)[kOperandWords<kFormat>]) {
            const int channel = first + within + lane % 4 * 4;
            const bool exists = strip[group] != nullptr && channel < columns;
            const std::byte* const from = strip[group] + (channel * 16 + lane / 4 % 2 * 8) * Format::kBits / 8;
            EightNumbers<kFormat> eights[4];
            OCTAVO_UNROLL
            for (int k = 0; k < 4; ++k)
              eights[k] = load_eight<kFormat>(exists ? from + 2 * k * Format::kBits : nullptr);
            join_eights<kFormat>(eights, words);
          },
          strips, b);
      OCTAVO_UNROLL
      for (int plane = 0; plane < Format::kPlanes; ++plane) {
        Registers<Machine, std::uint32_t, 4> a;
        machine.lanes(
            [&](int lane, std::uint32_t(&words)[4]) {
              OCTAVO_UNROLL
              for (int h = 0; h < 2; ++h) {
                const auto row = static_cast<std::uint32_t>(lane / 4 + 8 * h);
                const auto channel = static_cast<std::uint32_t>(first + within + lane % 4 * 4);
                const auto two = machine.template shared<WordPair>(
                    shared.float_plane(static_cast<std::uint32_t>(plane)) + row * shared.float_row() + 2 * channel);
                words[h] = two.first, words[h + 2] = two.second;
              }
            },
            a);
        OCTAVO_UNROLL
        for (int of_cache = 0; of_cache < Format::kCachePlanes; ++of_cache) {
          if (!multiplies_planes<kFormat>(plane, of_cache)) continue;
          const bool apart = Format::kCachePlanes > 1 && plane + of_cache > 0;
          OCTAVO_UNROLL
          for (int i = 0; i < 8; ++i) {
            if (apart) {
              machine.template mma<Format::kFloatMma>(small, 4 * i, a, 0, b, 16 * of_cache + 2 * i);
            } else {
              machine.template mma<Format::kFloatMma>(scores, 32 * group + 4 * i, a, 0, b, 16 * of_cache + 2 * i);
            }
          }
        }
      }
    }
  }
  if constexpr (Format::kCachePlanes > 1) {
    machine.lanes(
        [](int, float(&s)[kDecodeScores], float(&more)[32]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 32; ++i) s[32 * group + i] += more[i];
        },
        scores, small);
  }
}

// Q . K of the block; e4m3: over 256.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void decode_qk_floats(Machine& machine, const DecodeParams& p, DecodeShared shared,
                                    const DecodeTask& task, std::int32_t start,
                                    Registers<Machine, float, kDecodeScores>& scores) {
  StripPointers<kFormat, Machine> strips;
  find_strips<kFormat>(
      machine, p, task, start, p.cache.k, p.cache.k_columns, [](int lane) { return lane / 8; }, strips);
  machine.lanes(
      [](int, float(&s)[kDecodeScores]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kDecodeScores; ++i) s[i] = 0;
      },
      scores);
  decode_qk_group<kFormat, 0>(machine, p, shared, strips, scores);
  decode_qk_group<kFormat, 1>(machine, p, shared, strips, scores);
}

// Weights in f32, as decode_score_index() has them, and which of the lane's keys some row of the tile uses: bit 8 eight
// + key. Others are not read: V may hold anything there.
template <class Machine>
struct FloatWeights {
  Registers<Machine, float, kDecodeScores> numbers;
  Registers<Machine, std::uint32_t, 1> used;
};

// Sums for 64 channels from `channel` on; e4m3: over 256.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void decode_pv(Machine& machine, const DecodeParams& p, StripPointers<kFormat, Machine>& strips,
                             FloatWeights<Machine>& weights, int channel, Registers<Machine, float, 32>& sums) {
  using Format = DecodeFormat<kFormat>;
  const auto columns = static_cast<std::int32_t>(p.cache.v_columns);
  machine.lanes(
      [](int, float(&s)[32]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 32; ++i) s[i] = 0;
      },
      sums);
  OCTAVO_UNROLL
  for (int step = 0; step < 8; ++step) {  // of four keys of the lane
    const int eight = step / 2, in_eight = step % 2 * 4;
    Registers<Machine, std::uint32_t, kOperandWords<kFormat>> b;
    machine.lanes(
        [&](int lane, const std::byte*(&strip)[Format::kGroups], std::uint32_t(&used)[1],
            std::uint32_t(&words)[kOperandWords<kFormat>]) {
          const int c = channel + lane / 4 * 8;
          const bool exists = strip[eight / 2] != nullptr && c < columns;
          EightNumbers<kFormat> eights[4];
          OCTAVO_UNROLL
          for (int k = 0; k < 4; ++k) {
            const bool counts = exists && (used[0] >> (8 * eight + in_eight + k) & 1u) != 0;
            const int token = eight % 2 * 8 + in_eight + k;
            const std::byte* const from = strip[eight / 2] + (token * columns + c) * Format::kBits / 8;
            eights[k] = load_eight<kFormat>(counts ? from : nullptr);
          }
          join_eights<kFormat>(eights, words);
        },
        strips, weights.used, b);
    Registers<Machine, float, 8> rest;  // of the planes, row half by row half
    machine.lanes(
        [&](int, float(&w)[kDecodeScores], float(&r)[8]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 8; ++i) r[i] = w[decode_score_index<kFormat>(eight, i / 4, in_eight + i % 4)];
        },
        weights.numbers, rest);
    OCTAVO_UNROLL
    for (int plane = 0; plane < Format::kPlanes; ++plane) {
      Registers<Machine, std::uint32_t, 4> a;
      machine.lanes(
          [](int, float(&r)[8], std::uint32_t(&words)[4]) {
            OCTAVO_UNROLL
            for (int h = 0; h < 2; ++h) {
              words[h] = take_plane<kFormat, Machine>(r[4 * h], r[4 * h + 1]);
              words[h + 2] = take_plane<kFormat, Machine>(r[4 * h + 2], r[4 * h + 3]);
            }
          },
          rest, a);
      OCTAVO_UNROLL
      for (int of_cache = 0; of_cache < Format::kCachePlanes; ++of_cache) {
        if (!multiplies_planes<kFormat>(plane, of_cache)) continue;
        OCTAVO_UNROLL
        for (int i = 0; i < 8; ++i) {
          machine.template mma<Format::kFloatMma>(sums, 4 * i, a, 0, b, 16 * of_cache + 2 * i);
        }
      }
    }
  }
}

}  // namespace octavo::cuda
