// First product of one warp: 16 rows of Q against a tile of keys.
//   T = (Q . K) * query_factor * key_factor + key_addend,   [16, kKeys] f32, base 2, columns in the order of slots
// Integer sums are exact. Wide queries are two planes of codes: Q . K = 256 (high . K) + (low . K), joined in f32.
#pragma once

#include <cstdint>

#include "cuda/ops/task.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {

struct alignas(8) FloatPair {
  float x, y;
};

template <class Shape>
constexpr Mma kScoreProduct = Shape::kScores == PackedFormat::s8    ? Mma::s8s8
                              : Shape::kScores == PackedFormat::f16 ? Mma::f16
                                                                    : Mma::bf16;

// Two steps of a product are 64 bytes of a row: 8 registers of A, and one ldmatrix for 8 rows of B.
constexpr std::uint32_t kPairBytes = 64, kPairChunks = 4;
template <class Shape>
constexpr int kQueryPairs = static_cast<int>(Shape::kRowBytes / kPairBytes);
template <class Shape>
constexpr int kQueryRegisters = Shape::kQueryInRegisters ? 8 * kQueryPairs<Shape> : 8;

// A [16, 64 bytes] of the warp's rows at chunk `chunk` of the tile at `tile` into q[first .. first + 7].
template <std::uint32_t kRowBytes, int n, class Machine>
OCTAVO_DEVICE void load_a(Machine& machine, Registers<Machine, std::uint32_t, n>& q, int first, std::uint32_t tile,
                          std::uint32_t chunk) {
  const auto row = static_cast<std::uint32_t>(16 * machine.warp());
  OCTAVO_UNROLL
  for (std::uint32_t half = 0; half < 2; ++half) {
    machine.template ldmatrix<false>(q, first + 4 * static_cast<int>(half), [&](int lane) {
      const auto l = static_cast<std::uint32_t>(lane);
      return tile + SharedTile<kRowBytes>::at(row + l % 16, chunk + 2 * half + l / 16);
    });
  }
}

template <class Shape, class Machine>
OCTAVO_DEVICE void load_query(Machine& machine, Registers<Machine, std::uint32_t, kQueryRegisters<Shape>>& q) {
  if constexpr (Shape::kQueryInRegisters) {
    OCTAVO_UNROLL
    for (int pair = 0; pair < kQueryPairs<Shape>; ++pair) {
      load_a<Shape::kRowBytes>(machine, q, 8 * pair, Shape::kQueryAt, kPairChunks * static_cast<std::uint32_t>(pair));
    }
  }
}

// acc += Q . K for 16 slots from `slot`; K's tile lies at `keys`.
template <class Shape, class Machine, class Sum>
OCTAVO_DEVICE void multiply_16_keys(Machine& machine, Registers<Machine, std::uint32_t, kQueryRegisters<Shape>>& q,
                                    std::uint32_t keys, int slot, Registers<Machine, Sum, 8>& acc) {
  OCTAVO_UNROLL
  for (int pair = 0; pair < kQueryPairs<Shape>; ++pair) {
    const std::uint32_t chunk = kPairChunks * static_cast<std::uint32_t>(pair);
    if constexpr (!Shape::kQueryInRegisters) load_a<Shape::kRowBytes>(machine, q, 0, Shape::kQueryAt, chunk);
    const int a = Shape::kQueryInRegisters ? 8 * pair : 0;
    OCTAVO_UNROLL
    for (int tile = 0; tile < 2; ++tile) {
      Registers<Machine, std::uint32_t, 4> b;
      machine.template ldmatrix<false>(b, 0, [&](int lane) {
        const auto l = static_cast<std::uint32_t>(lane);
        return keys +
               SharedTile<Shape::kRowBytes>::at(static_cast<std::uint32_t>(slot + 8 * tile) + l % 8, chunk + l / 8);
      });
      machine.template mma<kScoreProduct<Shape>>(acc, 4 * tile, q, a, b, 0);
      machine.template mma<kScoreProduct<Shape>>(acc, 4 * tile, q, a + 4, b, 2);
    }
  }
}

// Sums of 16 slots to scores.
template <class Shape, class Machine, class Sum>
OCTAVO_DEVICE void scale_16_keys(Machine& machine, Registers<Machine, Sum, 8>& acc, int slot, std::uint32_t stage,
                                 float logit_scale, Registers<Machine, float, 2>& query_factor,
                                 Registers<Machine, float, Shape::kKeys / 2>& scores) {
  const std::uint32_t vector = stage * Shape::kVectorBytes;
  machine.lanes(
      [&](int lane, Sum(&sum)[8], float(&row)[2], float(&to)[Shape::kKeys / 2]) {
        OCTAVO_UNROLL
        for (int tile = 0; tile < 2; ++tile) {
          const std::uint32_t at = vector + 4 * static_cast<std::uint32_t>(slot + 8 * tile + lane % 4 * 2);
          FloatPair factor{logit_scale, logit_scale};
          if constexpr (Shape::kIntegerScores) factor = machine.template shared<FloatPair>(Shape::kFactorAt + at);
          const auto addend = machine.template shared<FloatPair>(Shape::kAddendAt + at);
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) {
            const float f = i % 2 == 0 ? factor.x : factor.y, a = i % 2 == 0 ? addend.x : addend.y;
            to[slot / 2 + 4 * tile + i] = __builtin_fmaf(static_cast<float>(sum[4 * tile + i]) * f, row[i / 2], a);
          }
        }
      },
      acc, query_factor, scores);
}

template <class Machine, class T, int n>
OCTAVO_DEVICE void clear(Machine& machine, Registers<Machine, T, n>& x) {
  machine.lanes(
      [](int, T(&r)[n]) {
        OCTAVO_UNROLL
        for (int i = 0; i < n; ++i) r[i] = 0;
      },
      x);
}

template <class Shape, class Machine>
OCTAVO_DEVICE void score_tile(Machine& machine, const AttentionKernelParams& p,
                              Registers<Machine, std::uint32_t, kQueryRegisters<Shape>>& q, std::uint32_t stage,
                              Registers<Machine, float, 2>& query_factor,
                              Registers<Machine, float, Shape::kKeys / 2>& scores) {
  using Sum = MmaSum<kScoreProduct<Shape>>;
  OCTAVO_UNROLL
  for (int slot = 0; slot < Shape::kKeys; slot += 16) {
    Registers<Machine, Sum, 8> acc;
    clear<Machine, Sum, 8>(machine, acc);
    multiply_16_keys<Shape>(machine, q, Shape::kKeysAt + stage * Shape::kKeyBytes, slot, acc);
    scale_16_keys<Shape, Machine, Sum>(machine, acc, slot, stage, p.logit_scale, query_factor, scores);
  }
}

}  // namespace octavo::cuda
