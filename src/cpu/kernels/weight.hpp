// Second stage: weights p = 2^(T - shift) in the representation the value product takes, and their row sums.
#pragma once

#include "cpu/kernels/exp2.hpp"
#include "cpu/kernels/score.hpp"
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
    // An integer cannot be NaN, and a row that holds one must not end finite: 0 p carries it into the sum.
    if constexpr (kSum == SumOf::codes)
      for (int u = 0; u < kWeightVectors; ++u) p[u] = S::fma(p[u], S::set1(0.0f), S::to_f32(code[u]));
  }
  OCTAVO_INLINE void exp2(typename S::f32 (&x)[kWeightVectors]) { exp2_quartic<S>(x); }
};

// Floats as they are; the row sum takes the unrounded weights.
template <class S>
struct FloatWeights {
  using element = float;
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], element* to) {
    for (int u = 0; u < kWeightVectors; ++u) S::store(to + u * S::kLanes, p[u]);
  }
  OCTAVO_INLINE void exp2(typename S::f32 (&x)[kWeightVectors]) { exp2_quintic<S>(x); }
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

// The stage as a walk that can be interrupted: each step takes four vectors of one row.
template <class S, class Weights>
class WeightWalk {
 public:
  static constexpr int kLanes = S::kLanes, kStep = kWeightVectors * kLanes;

  inline __attribute__((always_inline)) explicit WeightWalk(const WeightStage& stage) : w_(stage) {
    for (int i = 0; i < kGroupRows * kLanes; i += kLanes) S::store(sums_ + i, S::set1(0.0f));
    // A null `inverse` reads one vector of ones over and over.
    for (int i = 0; i < kStep; i += kLanes) S::store(ones_ + i, S::set1(1.0f));
    count_ = w_.inverse != nullptr ? w_.inverse : ones_;
    count_step_ = w_.inverse != nullptr ? 1 : 0;
  }
  inline __attribute__((always_inline)) bool done() const { return row_ >= w_.rows; }

  inline __attribute__((always_inline)) void step() {
    const auto shift = S::set1(w_.shift[row_]);
    const float* scores = w_.scores + row_ * w_.ld + key_;
    const float* count = count_ + count_step_ * key_;
    typename S::f32 p[kWeightVectors];
#pragma GCC unroll 4
    for (int u = 0; u < kWeightVectors; ++u) p[u] = S::sub(S::load(scores + u * kLanes), shift);
    Weights::exp2(p);
    Weights::convert(p, static_cast<typename Weights::element*>(w_.weights) + row_ * w_.ld + key_);
    auto sum = S::load(sums_ + row_ * kLanes);
#pragma GCC unroll 4
    for (int u = 0; u < kWeightVectors; ++u) sum = S::fma(p[u], S::load(count + u * kLanes), sum);
    S::store(sums_ + row_ * kLanes, sum);
    key_ += kStep;
    if (key_ >= w_.keys) {
      key_ = 0;
      ++row_;
    }
  }

  inline __attribute__((always_inline)) void finish() {
    while (!done()) step();
    for (int i = 0; i < kGroupRows; i += kLanes) S::store(w_.row_sum + i, S::row_sum(sums_ + i * kLanes));
  }

 private:
  const WeightStage w_;  // a copy: vector stores may alias anything behind a reference
  const float* count_;
  std::int64_t count_step_;
  std::int64_t key_ = 0;
  int row_ = 0;
  alignas(64) float sums_[kGroupRows * kLanes];
  alignas(64) float ones_[kStep];
};

template <class S, class Weights>
void weight_stage(const WeightStage& stage) {
  WeightWalk<S, Weights>(stage).finish();
}

// A walk's steps as work between those of a score tile. Four a tile: as many as there are tiles' worth of scores.
template <class S, class Weights>
struct WeighBetween {
  static constexpr int kParts = 4;
  WeightWalk<S, Weights>& walk;
  inline __attribute__((always_inline)) void operator()() const {
    if (!walk.done()) walk.step();
  }
};

// A group's scores with the weights of the group before it in between: products and exponentials use different units of
// the processor, and neither alone keeps both busy.
template <class S, class Product, class Weights>
void score_and_weigh_stage(const ScoreStage& scores, const WeightStage& previous) {
  WeightWalk<S, Weights> walk(previous);
  score_tiles<S, Product>(scores, WeighBetween<S, Weights>{walk});
  walk.finish();
}

}  // namespace
}  // namespace octavo::cpu
