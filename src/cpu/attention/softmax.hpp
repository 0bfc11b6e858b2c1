// The softmax stage: weights R p = R 2^(T - shift) in the representation that the pv stage reads, and their row sums. R
// is part of the polynomial of 2^x. Subtracted from the shift instead, it would lose digits beside a large score, and
// codes would exceed R.
#pragma once

#include "cpu/attention/qk.hpp"
#include "cpu/attention/stages.hpp"
#include "cpu/operands/float8.hpp"
#include "cpu/simd/exp2.hpp"

namespace octavo::cpu {
namespace {

// Four vectors of weights at a time: that many codes of 8 bits fill one vector.
inline constexpr int kWeightVectors = 4;

// A representation of weights: round() makes codes of four vectors, store() writes them, counted() is what a code
// counts in the row sum where that is the sum of the codes. kShiftsCoefficients: R 2^-shift is part of the polynomial,
// so that no score needs a subtraction; a row's largest weight is then R only up to the rounding of f32.

template <class S, int kPlanes>
constexpr const auto& exp2_of_codes() {
  if constexpr (kPlanes == 1) {
    return S::Exp2::kQuartic;
  } else {
    return S::Exp2::kQuintic;
  }
}

// Codes of eight bits, or of sixteen in two planes, high bytes and low bytes: round-half-even(R p).
template <class S, int kPlanes>
struct IntegerWeights {
  using code = typename S::s32;
  static constexpr bool kShiftsCoefficients = true;
  static constexpr const auto& kExp2 = exp2_of_codes<S, kPlanes>();
  OCTAVO_INLINE void round(const typename S::f32 (&p)[kWeightVectors], WeightFormat, code (&c)[kWeightVectors]) {
    for (int u = 0; u < kWeightVectors; ++u) c[u] = S::round_to_s32(p[u]);
  }
  OCTAVO_INLINE void store(const code (&c)[kWeightVectors], const SoftmaxStage& w, std::int64_t at) {
    auto* codes = static_cast<std::uint8_t*>(w.weights) + at;
    if constexpr (kPlanes == 1) {
      S::store_u8x4(codes, c[0], c[1], c[2], c[3]);
    } else {
      code high[kWeightVectors], low[kWeightVectors];
      for (int u = 0; u < kWeightVectors; ++u) {
        high[u] = S::template shift_right<8>(c[u]);
        low[u] = S::and_s32(c[u], S::set1(0xff));
      }
      S::store_u8x4(codes, high[0], high[1], high[2], high[3]);
      S::store_u8x4(static_cast<std::uint8_t*>(w.weights_low) + at, low[0], low[1], low[2], low[3]);
    }
  }
  // An integer code cannot be NaN, so 0 * p carries a NaN of the weight into the row sum.
  OCTAVO_INLINE typename S::f32 counted(code c, typename S::f32 p) { return S::fma(p, S::set1(0.0f), S::to_f32(c)); }
};

// R p in the recipe's format as floats, which are exact in the words that hold them. FP8 codes need no saturation: R p
// exceeds R, at most the format's largest number, by less than it takes to round away from it.
template <class S>
struct FloatWeights {
  using code = typename S::f32;
  static constexpr bool kShiftsCoefficients = false;
  static constexpr const auto& kExp2 = S::Exp2::kQuintic;
  OCTAVO_INLINE void round(const code (&p)[kWeightVectors], WeightFormat format, code (&c)[kWeightVectors]) {
    switch (format) {
      case WeightFormat::input:
        for (int u = 0; u < kWeightVectors; ++u) c[u] = p[u];
        return;
      case WeightFormat::f16:
        for (int u = 0; u < kWeightVectors; ++u) c[u] = S::round_f16(p[u]);
        return;
      case WeightFormat::e4m3:
        for (int u = 0; u < kWeightVectors; ++u) c[u] = round_e4m3_in_range<S>(p[u]);
        return;
      case WeightFormat::e5m2:
        for (int u = 0; u < kWeightVectors; ++u) c[u] = round_e5m2_in_range<S>(p[u]);
        return;
      default:
        for (int u = 0; u < kWeightVectors; ++u) c[u] = IntegerWeights<S, 1>::counted(S::round_to_s32(p[u]), p[u]);
    }
  }
  OCTAVO_INLINE void store(const code (&c)[kWeightVectors], const SoftmaxStage& w, std::int64_t at) {
    for (int u = 0; u < kWeightVectors; ++u) S::store(static_cast<float*>(w.weights) + at + u * S::kLanes, c[u]);
  }
  OCTAVO_INLINE typename S::f32 counted(code c, typename S::f32) { return c; }
};

template <class S>
struct Bf16Weights : FloatWeights<S> {
  using code = typename S::f32;
  OCTAVO_INLINE void store(const code (&c)[kWeightVectors], const SoftmaxStage& w, std::int64_t at) {
    for (int u = 0; u < kWeightVectors; u += 2)
      S::store_bf16x2(static_cast<std::uint16_t*>(w.weights) + at + u * S::kLanes, c[u], c[u + 1]);
  }
};

// The stage as a loop that can be interrupted: each step handles up to kKeysOfStep keys of one row.
template <class S, class Weights>
class SoftmaxWalk {
 public:
  static constexpr int kLanes = S::kLanes, kKeysOfStep = 128;
  static constexpr int kTerms = sizeof(Weights::kExp2) / sizeof(float);

  inline __attribute__((always_inline)) explicit SoftmaxWalk(const SoftmaxStage& stage) : w_(stage) {
    for (int i = 0; i < kGroupRows * kLanes; i += kLanes) S::store(sums_ + i, S::set1(0.0f));
    // A null `inverse` reads one vector of ones over and over.
    for (int i = 0; i < kWeightVectors * kLanes; i += kLanes) S::store(ones_ + i, S::set1(1.0f));
    count_ = w_.inverse != nullptr ? w_.inverse : ones_;
    count_step_ = w_.inverse != nullptr ? 1 : 0;
    for (int i = 0; i < kGroupRows; i += kLanes) {
      auto least = S::set1(-126.0f), range = S::set1(w_.range);
      if constexpr (Weights::kShiftsCoefficients) {
        const auto shift = S::load(w_.shift + i);
        least = S::add(shift, least);
        range = S::mul(range, exp2_quintic<S>(S::sub(S::set1(0.0f), shift)));
      }
      S::store(least_ + i, least);
      for (int t = 0; t < kTerms; ++t) S::store(exp2_[t] + i, S::mul(range, S::set1(Weights::kExp2[t])));
    }
  }
  inline __attribute__((always_inline)) bool done() const { return row_ >= w_.rows; }
  // So many steps have the work of kKeysOfStep keys.
  inline __attribute__((always_inline)) int steps_at_once() const { return w_.keys <= kKeysOfStep / 2 ? 2 : 1; }

  inline __attribute__((always_inline)) void step() {
    const int row = row_;
    std::int64_t key = key_;
    const std::int64_t keys = w_.keys, end = key + kKeysOfStep < keys ? key + kKeysOfStep : keys;
    const auto least = S::set1(least_[row]), shift = S::set1(w_.shift[row]);
    typename S::f32 terms[kTerms];
#pragma GCC unroll 8
    for (int t = 0; t < kTerms; ++t) terms[t] = S::set1(exp2_[t][row]);
    auto sum = S::load(sums_ + row * kLanes);
    do {
      const float* scores = w_.scores + row * w_.ld + key;
      const float* count = count_ + count_step_ * key;
      typename S::f32 p[kWeightVectors];
#pragma GCC unroll 4
      for (int u = 0; u < kWeightVectors; ++u) {
        p[u] = S::load(scores + u * kLanes);
        if constexpr (!Weights::kShiftsCoefficients) p[u] = S::sub(p[u], shift);
      }
      exp2_from<S>(p, least, terms);
      typename Weights::code c[kWeightVectors];
      Weights::round(p, w_.format, c);
      Weights::store(c, w_, row * w_.ld + key);
      if (w_.sum_codes) {
#pragma GCC unroll 4
        for (int u = 0; u < kWeightVectors; ++u) p[u] = Weights::counted(c[u], p[u]);
      }
#pragma GCC unroll 4
      for (int u = 0; u < kWeightVectors; ++u) sum = S::fma(p[u], S::load(count + u * kLanes), sum);
      key += kWeightVectors * kLanes;
    } while (key < end);
    S::store(sums_ + row * kLanes, sum);
    key_ = end < keys ? end : 0;
    row_ = end < keys ? row : row + 1;
  }

  inline __attribute__((always_inline)) void finish() {
    while (!done()) step();
    for (int i = 0; i < kGroupRows; i += kLanes) S::store(w_.row_sum + i, S::row_sum(sums_ + i * kLanes));
  }

 private:
  const SoftmaxStage w_;  // a copy: vector stores may alias anything behind a reference
  const float* count_;
  std::int64_t count_step_;
  std::int64_t key_ = 0;
  int row_ = 0;
  alignas(64) float exp2_[kTerms][kGroupRows];  // the coefficients, times R and what kShiftsCoefficients says
  alignas(64) float least_[kGroupRows];         // what 2^-126 comes from
  alignas(64) float sums_[kGroupRows * kLanes];
  alignas(64) float ones_[kWeightVectors * kLanes];
};

template <class S, class Weights>
void softmax_stage(const SoftmaxStage& stage) {
  SoftmaxWalk<S, Weights>(stage).finish();
}

// Steps of the loop as work between those of a qk tile: one for every two rows of the tile.
template <class S, class Weights, int kRows>
struct SoftmaxBetween {
  static constexpr int kParts = kRows / 2;
  SoftmaxWalk<S, Weights>& walk;
  inline __attribute__((always_inline)) void operator()() const {
    for (int i = walk.steps_at_once(); i > 0 && !walk.done(); --i) walk.step();
  }
};

// The qk stage of a group interleaved with the softmax stage of the group before it: products and exponentials use
// different units of the processor.
template <class S, class Product, class Weights>
void qk_and_softmax_stage(const QkStage& scores, const SoftmaxStage& previous) {
  SoftmaxWalk<S, Weights> walk(previous);
  qk_tiles<S, Product>(scores, SoftmaxBetween<S, Weights, Product::kRows>{walk});
  walk.finish();
}

}  // namespace
}  // namespace octavo::cpu
