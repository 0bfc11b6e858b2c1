// First product of one warp: 16 rows of Q against a tile of keys.
//   T = (Q . K) * (query_factor * key_factor) + key_addend,   [16, kKeys] f32, base 2, columns in the order of slots
// (factors and addends are in the order of keys, packed_block.hpp).
// Factor times factor first: the sum times a large factor of K alone may exceed f32 where the score does not.
// Integer sums are exact. 16-bit Q is two planes of codes: Q . K = 256 (high . K) + (low . K), joined in f32.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "cuda/attention/task.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {

struct alignas(8) FloatPair {
  float x, y;
};
struct alignas(16) FloatQuad {
  float x, y, z, w;
};

template <class Shape>
constexpr Mma kQkProduct = Shape::kScores == PackedFormat::s8                           ? Mma::s8s8
                           : Shape::kScores == PackedFormat::s4                         ? Mma::s4s4
                           : Shape::kScores == PackedFormat::e4m3                       ? Mma::e4m3
                           : Shape::kScores == PackedFormat::bf16 || Shape::kPlanes > 1 ? Mma::bf16
                                                                                        : Mma::f16;

// Two steps of a product are 64 bytes of a row: 8 registers of A, and one ldmatrix for 8 rows of B. Rows of 32 bytes
// (64 channels of s4) are one step: 4 registers of A, and one ldmatrix for 16 rows of B.
constexpr std::uint32_t kPairBytes = 64, kPairChunks = 4;
template <class Shape>
constexpr bool kOneStep = Shape::kRowBytes < kPairBytes;
template <class Shape>
constexpr int kQueryPairs = static_cast<int>(Shape::kRowBytes / kPairBytes);
template <class Shape>
constexpr int kQueryRegisters = kOneStep<Shape>            ? 4
                                : Shape::kQueryInRegisters ? 8 * kQueryPairs<Shape>
                                                           : 8;

// A [16, 64 bytes] of the warp's rows at chunk `chunk` of the tile at `tile` into q[first .. first + 7].
template <std::uint32_t kRowBytes, int n, class Machine>
OCTAVO_DEVICE void load_a(Machine& machine, Registers<Machine, std::uint32_t, n>& q, int first, std::uint32_t tile,
                          std::uint32_t chunk) {
  const auto row = static_cast<std::uint32_t>(16 * machine.warp());
  OCTAVO_UNROLL
  for (std::uint32_t half = 0; half < (n < 8 ? 1 : 2); ++half) {
    machine.template ldmatrix<false>(q, first + 4 * static_cast<int>(half), [&](int lane) {
      const auto l = static_cast<std::uint32_t>(lane);
      return tile + SharedTile<kRowBytes>::at(row + l % 16, chunk + 2 * half + l / 16);
    });
  }
}

template <class Shape, class Machine>
OCTAVO_DEVICE void load_query(Machine& machine, Registers<Machine, std::uint32_t, kQueryRegisters<Shape>>& q) {
  if constexpr (kOneStep<Shape>) {
    load_a<Shape::kRowBytes>(machine, q, 0, Shape::kQueryAt, 0);
  } else if constexpr (Shape::kQueryInRegisters) {
    OCTAVO_UNROLL
    for (int pair = 0; pair < kQueryPairs<Shape>; ++pair) {
      load_a<Shape::kRowBytes>(machine, q, 8 * pair, Shape::kQueryAt, kPairChunks * static_cast<std::uint32_t>(pair));
    }
  }
}

// Integer sums start at the bits of 1.5 * 2^23 and stay within +-2^22 (codes of at most 128, 256 channels or 128 keys):
// read as a float they are 1.5 * 2^23 + sum, and one subtraction converts them exactly; the conversion instruction
// shares a slow unit with the exponential.
template <class Sum>
constexpr Sum kSumStart = 0;
template <>
constexpr std::int32_t kSumStart<std::int32_t> = 0x4b400000;
OCTAVO_INLINE float float_of_sum(float sum) { return sum; }
OCTAVO_INLINE float float_of_sum(std::int32_t sum) {
  return f32_of_bits(static_cast<std::uint32_t>(sum)) - 12582912.0f;
}

// Q . K for 16 slots from `slot`, of rows of one step.
template <class Shape, class Machine>
OCTAVO_DEVICE void multiply_16_keys_in_one_step(Machine& machine, Registers<Machine, std::uint32_t, 4>& q,
                                                std::uint32_t keys, int slot,
                                                Registers<Machine, MmaSum<kQkProduct<Shape>>, 8>& acc) {
  constexpr Mma kProduct = kQkProduct<Shape>;
  Registers<Machine, std::uint32_t, 4> b;
  machine.template ldmatrix<false>(b, 0, [&](int lane) {
    const auto l = static_cast<std::uint32_t>(lane);
    return keys + SharedTile<Shape::kRowBytes>::at(static_cast<std::uint32_t>(slot) + l / 16 * 8 + l % 8, l / 8 % 2);
  });
  OCTAVO_UNROLL
  for (int tile = 0; tile < 2; ++tile) {
    machine.template first_mma<kProduct>(acc, 4 * tile, q, 0, b, 2 * tile, kSumStart<MmaSum<kProduct>>);
  }
}

// Q . K for 16 slots from `slot`; K's tile is at `keys`. `in_registers`: Q is in q; else its tile is at `queries`.
// `adds`: to what acc holds.
template <class Shape, bool in_registers, bool adds = false, class Machine, int n>
OCTAVO_DEVICE void multiply_16_keys(Machine& machine, Registers<Machine, std::uint32_t, n>& q, std::uint32_t queries,
                                    std::uint32_t keys, int slot,
                                    Registers<Machine, MmaSum<kQkProduct<Shape>>, 8>& acc) {
  constexpr Mma kProduct = kQkProduct<Shape>;
  OCTAVO_UNROLL
  for (int pair = 0; pair < kQueryPairs<Shape>; ++pair) {
    const std::uint32_t chunk = kPairChunks * static_cast<std::uint32_t>(pair);
    if constexpr (!in_registers) load_a<Shape::kRowBytes>(machine, q, 0, queries, chunk);
    const int a = in_registers ? 8 * pair : 0;
    OCTAVO_UNROLL
    for (int tile = 0; tile < 2; ++tile) {
      Registers<Machine, std::uint32_t, 4> b;
      machine.template ldmatrix<false>(b, 0, [&](int lane) {
        const auto l = static_cast<std::uint32_t>(lane);
        return keys +
               SharedTile<Shape::kRowBytes>::at(static_cast<std::uint32_t>(slot + 8 * tile) + l % 8, chunk + l / 8);
      });
      if (pair == 0 && !adds) {
        machine.template first_mma<kProduct>(acc, 4 * tile, q, a, b, 0, kSumStart<MmaSum<kProduct>>);
      } else {
        machine.template mma<kProduct>(acc, 4 * tile, q, a, b, 0);
      }
      machine.template mma<kProduct>(acc, 4 * tile, q, a + 4, b, 2);
    }
  }
}

// The same of numbers in three planes, the smaller products first; those below 2^-24 are left out.
template <class Shape, class Machine, int n>
OCTAVO_DEVICE void multiply_planes(Machine& machine, Registers<Machine, std::uint32_t, n>& q, std::uint32_t keys,
                                   int slot, Registers<Machine, float, 8>& acc) {
  clear<Machine, float, 8>(machine, acc);
  OCTAVO_UNROLL
  for (int of_both = kPlanesOfF32 - 1; of_both >= 0; --of_both) {
    OCTAVO_UNROLL
    for (int of_key = of_both; of_key >= 0; --of_key) {
      if (Shape::kDim == 128) machine.sync_warp();
      multiply_16_keys<Shape, false, true>(
          machine, q, Shape::kQueryAt + static_cast<std::uint32_t>(of_both - of_key) * Shape::kQueryPlaneBytes,
          keys + static_cast<std::uint32_t>(of_key) * Shape::kKeyPlaneBytes, slot, acc);
    }
  }
}

template <class Machine, class Sum>
OCTAVO_DEVICE void to_floats(Machine& machine, Registers<Machine, Sum, 8>& acc, Registers<Machine, float, 8>& sums) {
  machine.lanes(
      [](int, Sum(&from)[8], float(&to)[8]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 8; ++i) to[i] = float_of_sum(from[i]);
      },
      acc, sums);
}

// A lane's numbers in a vector of the tile's keys that lies at `vector`: those of its columns in the 16 slots from
// `slot` on, two of each eight. Of permuted slots they are four keys in a row.
template <class Shape, class Machine>
OCTAVO_DEVICE FloatQuad numbers_of_keys(const Machine& machine, std::uint32_t vector, int slot, int lane) {
  const std::uint32_t at = vector + 4 * static_cast<std::uint32_t>(slot);
  const auto t = static_cast<std::uint32_t>(lane % 4);
  if constexpr (Shape::kByteValues) {
    return machine.template shared<FloatQuad>(at + 16 * t);
  } else {
    const auto first = machine.template shared<FloatPair>(at + 8 * t);
    const auto second = machine.template shared<FloatPair>(at + 32 + 8 * t);
    return {first.x, first.y, second.x, second.y};
  }
}

// The number of them that element i of the 16 slots' scores needs.
OCTAVO_INLINE float of_column(const FloatQuad& numbers, int i) {
  return i < 4 ? (i % 2 == 0 ? numbers.x : numbers.y) : (i % 2 == 0 ? numbers.z : numbers.w);
}

// Sums of 16 slots to scores. `own_addends`: how far the addends of the warp's head lie behind those of the first.
template <class Shape, class Machine>
OCTAVO_DEVICE void scale_16_keys(Machine& machine, Registers<Machine, float, 8>& sums, int slot, std::uint32_t stage,
                                 std::uint32_t own_addends, Registers<Machine, float, 2>& query_factor,
                                 Registers<Machine, float, Shape::kKeys / 2>& scores) {
  const std::uint32_t vector = stage * Shape::kVectorBytes;
  machine.lanes(
      [&](int lane, float(&sum)[8], float(&row)[2], float(&to)[Shape::kKeys / 2]) {
        FloatQuad factors{1, 1, 1, 1};
        if constexpr (Shape::kScaledScores) {
          factors = numbers_of_keys<Shape>(machine, Shape::kFactorAt + vector, slot, lane);
        }
        const FloatQuad addends = numbers_of_keys<Shape>(machine, Shape::kAddendAt + vector + own_addends, slot, lane);
        OCTAVO_UNROLL
        for (int i = 0; i < 8; ++i) {
          to[slot / 2 + i] = __builtin_fmaf(sum[i], of_column(factors, i) * row[i / 2 % 2], of_column(addends, i));
        }
      },
      sums, query_factor, scores);
}

// The tile's slots first..end - 1.
template <class Shape, int first = 0, int end = Shape::kKeys, class Machine>
OCTAVO_DEVICE void qk_tile(Machine& machine, Registers<Machine, std::uint32_t, kQueryRegisters<Shape>>& q,
                           std::uint32_t stage, Registers<Machine, float, 2>& query_factor,
                           Registers<Machine, float, Shape::kKeys / 2>& scores) {
  using Sum = MmaSum<kQkProduct<Shape>>;
  const std::uint32_t keys = Shape::kKeysAt + stage * Shape::kKeyBytes;
  OCTAVO_UNROLL
  for (int slot = first; slot < end; slot += 16) {
    Registers<Machine, Sum, 8> acc;
    Registers<Machine, float, 8> sums;
    if constexpr (Shape::kPlanes > 1) {
      multiply_planes<Shape>(machine, q, keys, slot, acc);
    } else if constexpr (kOneStep<Shape>) {
      multiply_16_keys_in_one_step<Shape>(machine, q, keys, slot, acc);
    } else {
      multiply_16_keys<Shape, Shape::kQueryInRegisters>(machine, q, Shape::kQueryAt, keys, slot, acc);
    }
    to_floats(machine, acc, sums);
    scale_16_keys<Shape>(machine, sums, slot, stage, 0, query_factor, scores);
    // The compiler moves no loads across: all at once they would take the place of scores, which would spill. Here,
    // because nvcc 13.0 then spills on none of 8.0, 9.0, 10.0 and 12.0.
    if (Shape::kDim == 128 && Shape::kQueryInRegisters && (slot == 48 || slot == 96)) machine.sync_warp();
    if (Shape::kSharesPlace) machine.sync_warp();  // without it a third more spills on 9.0
  }
}

// The same for 16-bit Q, its low plane at `low`.
template <class Shape, class Machine>
OCTAVO_DEVICE void qk_tile_q16(Machine& machine, std::uint32_t low, std::uint32_t stage,
                               Registers<Machine, float, 2>& query_factor,
                               Registers<Machine, float, Shape::kKeys / 2>& scores) {
  const std::uint32_t keys = Shape::kKeysAt + stage * Shape::kKeyBytes;
  Registers<Machine, std::uint32_t, 8> q;
  OCTAVO_UNROLL
  for (int slot = 0; slot < Shape::kKeys; slot += 16) {
    Registers<Machine, std::int32_t, 8> acc;
    Registers<Machine, float, 8> sums, lower;
    multiply_16_keys<Shape, false>(machine, q, low, keys, slot, acc);
    to_floats(machine, acc, lower);
    multiply_16_keys<Shape, false>(machine, q, Shape::kQueryAt, keys, slot, acc);
    to_floats(machine, acc, sums);
    machine.lanes(
        [](int, float(&a)[8], float(&b)[8]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 8; ++i) a[i] = __builtin_fmaf(a[i], 256.0f, b[i]);
        },
        sums, lower);
    scale_16_keys<Shape>(machine, sums, slot, stage, 0, query_factor, scores);
  }
}

}  // namespace octavo::cuda
