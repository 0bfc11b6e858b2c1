// Second stage: weights p = 2^(T - shift) in the representation the value product takes, and their row sums.
#pragma once

#include "cpu/kernels/exp2.hpp"
#include "cpu/kernels/stages.hpp"

namespace octavo::cpu {
namespace {

// Four vectors of weights at a time: that many codes of 8 bits fill one vector.
inline constexpr int kWeightVectors = 4;

enum class SumOf { weights, codes };

// Codes of eight bits: round-half-even(R p); R is part of the shift.
template <class S, SumOf kSum>
struct IntegerWeights {
  using element = std::uint8_t;
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], element* to) {
    typename S::s32 code[kWeightVectors];
    for (int u = 0; u < kWeightVectors; ++u) code[u] = S::round_to_s32(p[u]);
    S::store_u8x4(to, code[0], code[1], code[2], code[3]);
    if constexpr (kSum == SumOf::codes)
      for (int u = 0; u < kWeightVectors; ++u) p[u] = S::to_f32(code[u]);
  }
  OCTAVO_INLINE typename S::f32 exp2(typename S::f32 x) { return exp2_quartic<S>(x); }
};

// Floats as they are; the row sum takes the unrounded weights.
template <class S>
struct FloatWeights {
  using element = float;
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], element* to) {
    for (int u = 0; u < kWeightVectors; ++u) S::store(to + u * S::kLanes, p[u]);
  }
  OCTAVO_INLINE typename S::f32 exp2(typename S::f32 x) { return exp2_quintic<S>(x); }
};

// Weights rounded to f16 and kept as floats, for processors without f16 products.
template <class S>
struct HalfWeights : FloatWeights<S> {
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], float* to) {
    for (int u = 0; u < kWeightVectors; ++u) S::store(to + u * S::kLanes, S::round_f16(p[u]));
  }
};

template <class S>
struct Bf16Weights : FloatWeights<S> {
  using element = std::uint16_t;
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], element* to) {
    for (int u = 0; u < kWeightVectors; ++u) S::store_bf16(to + u * S::kLanes, p[u]);
  }
};

template <class S, class Weights>
void weight_stage(const WeightStage& stage) {
  const WeightStage w = stage;  // a local copy: vector stores may alias anything behind a reference
  constexpr int kLanes = S::kLanes, kStep = kWeightVectors * kLanes;
  using element = typename Weights::element;
  alignas(64) float sums[kGroupRows * kLanes];
  // A null `inverse` reads one vector of ones over and over.
  alignas(64) float ones[kStep];
  for (int i = 0; i < kStep; ++i) ones[i] = 1.0f;
  const float* count = w.inverse != nullptr ? w.inverse : ones;
  const std::int64_t count_step = w.inverse != nullptr ? 1 : 0;

  for (int row = 0; row < w.rows; ++row) {
    const auto shift = S::set1(w.shift[row]);
    const float* scores = w.scores + row * w.ld;
    element* to = static_cast<element*>(w.weights) + row * w.ld;
    auto sum = S::set1(0.0f), sum2 = S::set1(0.0f);
    for (std::int64_t key = 0; key < w.keys; key += kStep) {
      typename S::f32 p[kWeightVectors];
      for (int u = 0; u < kWeightVectors; ++u) p[u] = Weights::exp2(S::sub(S::load(scores + key + u * kLanes), shift));
      Weights::convert(p, to + key);
      for (int u = 0; u < kWeightVectors; u += 2) {
        sum = S::fma(p[u], S::load(count + count_step * key + u * kLanes), sum);
        sum2 = S::fma(p[u + 1], S::load(count + count_step * key + (u + 1) * kLanes), sum2);
      }
    }
    S::store(sums + row * kLanes, S::add(sum, sum2));
  }
  for (int row = w.rows; row < kGroupRows; ++row) S::store(sums + row * kLanes, S::set1(0.0f));
  for (int i = 0; i < kGroupRows; i += kLanes) S::store(w.row_sum + i, S::row_sum(sums + i * kLanes));
}

}  // namespace
}  // namespace octavo::cpu
