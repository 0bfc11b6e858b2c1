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

enum class SumOf { weights, codes };

// An integer code cannot be NaN, so 0 * p carries a NaN of the weight into the row sum.
template <class S>
OCTAVO_INLINE typename S::f32 counted_code(typename S::s32 code, typename S::f32 p) {
  return S::fma(p, S::set1(0.0f), S::to_f32(code));
}

// Codes of eight bits: round-half-even(R p).
template <class S, SumOf kSum>
struct IntegerWeights {
  static constexpr const auto& kExp2 = spec::kExp2Quartic;
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], const SoftmaxStage& w, std::int64_t at) {
    typename S::s32 code[kWeightVectors];
    for (int u = 0; u < kWeightVectors; ++u) code[u] = S::round_to_s32(p[u]);
    S::store_u8x4(static_cast<std::uint8_t*>(w.weights) + at, code[0], code[1], code[2], code[3]);
    if constexpr (kSum == SumOf::codes)
      for (int u = 0; u < kWeightVectors; ++u) p[u] = counted_code<S>(code[u], p[u]);
  }
};

// Codes of sixteen bits in two planes, high bytes and low bytes.
template <class S>
struct IntegerWeights16 {
  static constexpr const auto& kExp2 = spec::kExp2Quintic;
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], const SoftmaxStage& w, std::int64_t at) {
    typename S::s32 code[kWeightVectors], high[kWeightVectors], low[kWeightVectors];
    for (int u = 0; u < kWeightVectors; ++u) {
      code[u] = S::round_to_s32(p[u]);
      high[u] = S::template shift_right<8>(code[u]);
      low[u] = S::and_s32(code[u], S::set1(0xff));
    }
    S::store_u8x4(static_cast<std::uint8_t*>(w.weights) + at, high[0], high[1], high[2], high[3]);
    S::store_u8x4(static_cast<std::uint8_t*>(w.weights_low) + at, low[0], low[1], low[2], low[3]);
    if (!w.sum_codes) return;
    for (int u = 0; u < kWeightVectors; ++u) p[u] = counted_code<S>(code[u], p[u]);
  }
};

// R p in the recipe's format as floats, which are exact in the words that hold them. FP8 codes need no saturation: R p
// exceeds R, at most the format's largest number, by less than it takes to round away from it.
template <class S>
OCTAVO_INLINE void round_weights(WeightFormat format, typename S::f32 (&p)[kWeightVectors]) {
  switch (format) {
    case WeightFormat::input:
      return;
    case WeightFormat::f16:
      for (int u = 0; u < kWeightVectors; ++u) p[u] = S::round_f16(p[u]);
      return;
    case WeightFormat::e4m3:
      for (int u = 0; u < kWeightVectors; ++u) p[u] = round_e4m3_in_range<S>(p[u]);
      return;
    case WeightFormat::e5m2:
      for (int u = 0; u < kWeightVectors; ++u) p[u] = round_e5m2_in_range<S>(p[u]);
      return;
    default:
      for (int u = 0; u < kWeightVectors; ++u) p[u] = counted_code<S>(S::round_to_s32(p[u]), p[u]);
  }
}

template <class S>
struct FloatWeights {
  static constexpr const auto& kExp2 = spec::kExp2Quintic;
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], const SoftmaxStage& w, std::int64_t at) {
    typename S::f32 rounded[kWeightVectors];
    for (int u = 0; u < kWeightVectors; ++u) rounded[u] = p[u];
    round_weights<S>(w.format, rounded);
    for (int u = 0; u < kWeightVectors; ++u) S::store(static_cast<float*>(w.weights) + at + u * S::kLanes, rounded[u]);
    for (int u = 0; w.sum_codes && u < kWeightVectors; ++u) p[u] = rounded[u];
  }
};

template <class S>
struct Bf16Weights : FloatWeights<S> {
  OCTAVO_INLINE void convert(typename S::f32 (&p)[kWeightVectors], const SoftmaxStage& w, std::int64_t at) {
    typename S::f32 rounded[kWeightVectors];
    for (int u = 0; u < kWeightVectors; ++u) rounded[u] = p[u];
    round_weights<S>(w.format, rounded);
    for (int u = 0; u < kWeightVectors; u += 2)
      S::store_bf16x2(static_cast<std::uint16_t*>(w.weights) + at + u * S::kLanes, rounded[u], rounded[u + 1]);
    for (int u = 0; w.sum_codes && u < kWeightVectors; ++u) p[u] = rounded[u];
  }
};

// The stage as a loop that can be interrupted: each step handles four vectors of one row.
template <class S, class Weights>
class SoftmaxWalk {
 public:
  static constexpr int kLanes = S::kLanes, kStep = kWeightVectors * kLanes;
  static constexpr int kTerms = sizeof(Weights::kExp2) / sizeof(float);

  inline __attribute__((always_inline)) explicit SoftmaxWalk(const SoftmaxStage& stage) : w_(stage) {
    for (int i = 0; i < kGroupRows * kLanes; i += kLanes) S::store(sums_ + i, S::set1(0.0f));
    // A null `inverse` reads one vector of ones over and over.
    for (int i = 0; i < kStep; i += kLanes) S::store(ones_ + i, S::set1(1.0f));
    count_ = w_.inverse != nullptr ? w_.inverse : ones_;
    count_step_ = w_.inverse != nullptr ? 1 : 0;
    for (int i = 0; i < kTerms; ++i) exp2_[i] = w_.range * Weights::kExp2[i];
  }
  inline __attribute__((always_inline)) bool done() const { return row_ >= w_.rows; }

  inline __attribute__((always_inline)) void step() {
    const auto shift = S::set1(w_.shift[row_]);
    const float* scores = w_.scores + row_ * w_.ld + key_;
    const float* count = count_ + count_step_ * key_;
    typename S::f32 p[kWeightVectors];
#pragma GCC unroll 4
    for (int u = 0; u < kWeightVectors; ++u) p[u] = S::sub(S::load(scores + u * kLanes), shift);
    if (w_.hides) {
      // exp2_with() stops at 2^-126.
      const auto least = S::set1(-126.0f), zero = S::set1(0.0f);
      typename S::f32 x[kWeightVectors];
#pragma GCC unroll 4
      for (int u = 0; u < kWeightVectors; ++u) x[u] = p[u];
      exp2_with<S>(p, exp2_);
#pragma GCC unroll 4
      for (int u = 0; u < kWeightVectors; ++u) p[u] = S::select(S::less(x[u], least), zero, p[u]);
    } else {
      exp2_with<S>(p, exp2_);
    }
    Weights::convert(p, w_, row_ * w_.ld + key_);
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
  const SoftmaxStage w_;  // a copy: vector stores may alias anything behind a reference
  float exp2_[kTerms];    // R times the coefficients
  const float* count_;
  std::int64_t count_step_;
  std::int64_t key_ = 0;
  int row_ = 0;
  alignas(64) float sums_[kGroupRows * kLanes];
  alignas(64) float ones_[kStep];
};

template <class S, class Weights>
void softmax_stage(const SoftmaxStage& stage) {
  SoftmaxWalk<S, Weights>(stage).finish();
}

// Steps of the loop as work between those of a qk tile: one for each row of the tile.
template <class S, class Weights, int kRows>
struct SoftmaxBetween {
  static constexpr int kParts = kRows;
  SoftmaxWalk<S, Weights>& walk;
  inline __attribute__((always_inline)) void operator()() const {
    if (!walk.done()) walk.step();
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
