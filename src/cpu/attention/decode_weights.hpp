// From products to weights in attention over a key-value cache, one row of a block of 128 keys, base 2:
//   T_j = softmax_scale log2(e) q.k_j (softcap: c tanh), -infinity where the key is hidden or kept
//   r = max T_j,  w_j = 2^(T_j - r),  u_j = w_j s_j,  c_j = rhe(u_j R / max u), R = 32767 (s4: 255)
//   m' = max(m, r),  l = l 2^(m - m') + 2^(r - m') sum w_j
// s_j is the scale of V's token: the fold without a logarithm. Float formats have c = u, and without scales u = w.
#pragma once

#include "cpu/attention/decode_block.hpp"
#include "cpu/simd/exp2.hpp"
#include "spec/scale.hpp"

namespace octavo::cpu {
namespace {

// Hides from a row's scores of the block that starts at key `start` what the row does not see or keeps exactly.
OCTAVO_INLINE void hide_keys(const DecodeQueries& q, std::int64_t r, std::int64_t start, std::int64_t keys, float* t) {
  const auto within = [&](std::int64_t key) { return key < start ? 0 : key - start < keys ? key - start : keys; };
  const std::int64_t begin = within(q.seen[r].begin), end = within(q.seen[r].end);
  for (std::int64_t j = 0; j < begin; ++j) t[j] = -__builtin_inff();
  for (std::int64_t j = end; j < keys; ++j) t[j] = -__builtin_inff();
  for (std::int64_t j = within(q.near[r].begin); j < within(q.near[r].end); ++j) t[j] = -__builtin_inff();
  if (start == 0 && q.first_kept != 0) t[0] = -__builtin_inff();
}

// dots[keys] -> T in place: times the factors of row and key, softcap; NaN is the one that exp2 keeps.
template <class S>
OCTAVO_INLINE void finish_scores(const CacheAttentionProblem& p, float factor, float constant, const float* k_scale,
                                 std::int64_t keys, float* t) {
  for (std::int64_t j = 0; j < keys; j += S::kLanes) {
    auto f = S::set1(factor);
    if (k_scale != nullptr) f = S::mul(f, S::load(k_scale + j));
    auto x = S::mul(S::load(t + j), f);
    if (p.softcap > 0) x = soften<S>(x, S::set1(constant), static_cast<float>(p.softcap));
    S::store(t + j, S::select(S::equal(x, x), x, S::set1(__builtin_nanf(""))));
  }
}

struct BlockFactors {
  float alpha, gamma;  // of the sums so far and of the block's
};

// The running state after a block with maximum r and row sum `sum`; gamma without the factor of the weights' codes.
OCTAVO_INLINE BlockFactors join_block(float r, float sum, float& m, float& l) {
  // One of the two powers is 1.
  const bool grows = r > m;
  const float alpha = m == -__builtin_inff() ? 0.0f : grows ? __builtin_exp2f(m - r) : 1.0f;
  const float beta = grows ? 1.0f : __builtin_exp2f(r - m);
  if (grows) m = r;
  l = l * alpha + beta * sum;
  return {alpha, beta * spec::kCacheOutputUnit};
}

// Quantizes the scaled weights u of a vector of keys and packs the codes in the order that the products read. s8: of
// every 4 keys the 16-bit pairs (0, 2) and (1, 3); s4: of every 8 keys the bytes (0, 4, 2, 6) and (1, 5, 3, 7). The
// remaining words of each 4 or 8 are not used.
template <class S, DType kFormat>
OCTAVO_INLINE typename S::s32 weight_words(typename S::f32 u, float inverse) {
  auto words = S::round_to_s32(S::mul(u, S::set1(inverse)));
  const auto swap2 = [](auto x) { return S::bits(S::template swap<2>(S::from_bits(x))); };
  if constexpr (kFormat == DType::s4 && S::kLanes > 4)
    words = S::or_s32(words, S::template shift_left<8>(S::bits(S::template swap<4>(S::from_bits(words)))));
  return S::or_s32(words, S::template shift_left<16>(swap2(words)));
}

// Codes of a row's weights, in place. Scaled to the largest u; `finite`: every u is.
template <class S, DType kFormat>
OCTAVO_INLINE void code_weights(std::int64_t keys, float inverse, bool finite, float* t) {
  auto* words = reinterpret_cast<std::int32_t*>(t);
  for (std::int64_t j = 0; j < keys; j += S::kLanes) {
    auto u = S::load(t + j);
    // What is not finite makes the row NaN by way of l.
    if (!finite) u = S::select(S::is_finite(u), u, S::set1(0.0f));
    S::store(words + j, weight_words<S, kFormat>(u, inverse));
  }
  if constexpr (kFormat == DType::s4 && S::kLanes == 4) {  // the two halves of 8 keys lie in two vectors
    for (std::int64_t j = 0; j < keys; j += 8)
      for (std::int64_t i = 0; i < 2; ++i) words[j + i] |= words[j + 4 + i] << 8;
  }
}

// T -> weights of one row in place (codes: in pairs as code_values takes them), and the running state.
template <class S, DType kFormat>
BlockFactors block_weights(float* t, const float* v_scale, std::int64_t keys, float& m, float& l) {
  const auto nothing = S::set1(-__builtin_inff()), zero = S::set1(0.0f);
  auto best = nothing;
  for (std::int64_t j = 0; j < keys; j += S::kLanes) best = S::max(S::load(t + j), best);
  const float r = S::reduce_max(best);
  if (r == -__builtin_inff()) {  // no key, or nothing but NaN
    for (std::int64_t j = 0; j < keys; ++j) {
      if (t[j] != t[j]) l = t[j];
      t[j] = 0;
    }
    return {1.0f, 0.0f};
  }
  auto sum = zero, most = zero;
  for (std::int64_t j = 0; j < keys; j += S::kLanes) {
    const auto x = S::load(t + j);
    const auto hidden = S::equal(x, nothing);
    auto w = exp2_quintic<S>(S::sub(x, S::set1(r)));
    auto u = w;
    if (v_scale != nullptr) {
      const auto s = S::load(v_scale + j);
      u = S::select(hidden, zero, S::mul(w, s));
      w = S::fma(s, zero, w);  // NaN where the token of V is not finite
    }
    w = S::select(hidden, zero, w);
    sum = S::add(sum, w);
    if (v_scale == nullptr) u = w;
    most = S::max(u, most);
    S::store(t + j, u);
  }
  BlockFactors factors = join_block(r, S::reduce_add(sum), m, l);
  if constexpr (!spec::cache_rotates(kFormat)) return factors;
  const spec::Scale code = spec::scale_of(S::reduce_max(most), spec::cache_weight_range(kFormat));
  code_weights<S, kFormat>(keys, code.inverse, false, t);
  factors.gamma *= code.scale;
  return factors;
}

// dots -> weights in place for a row that sees all keys of a whole block and keeps none of them, where all scales are
// finite and nothing else changes scores: the bits of finish_scores and block_weights, in fewer steps.
template <class S, DType kFormat>
BlockFactors plain_block_weights(float factor, const DecodeBlock& block, float* t, float& m, float& l) {
  constexpr bool kCodes = spec::cache_rotates(kFormat), kScales = spec::cache_has_scales(kFormat);
  constexpr int kVectors = 4;
  constexpr std::int64_t kKeys = spec::kCacheKeyBlock, kStep = kVectors * S::kLanes;
  const auto poison = S::set1(__builtin_nanf("")), by = S::set1(factor);
  typename S::f32 best[kVectors];
  for (int v = 0; v < kVectors; ++v) best[v] = S::set1(-__builtin_inff());
  for (std::int64_t j = 0; j < kKeys; j += kStep) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t at = j + v * S::kLanes;
      const auto f = kScales ? S::mul(by, S::load(block.k_scale + at)) : by;
      auto x = S::mul(S::load(t + at), f);
      x = S::select(S::equal(x, x), x, poison);
      best[v] = S::max(x, best[v]);
      S::store(t + at, x);
    }
  }
  const float r = S::reduce_max(S::max(S::max(best[0], best[1]), S::max(best[2], best[3])));
  if (r == -__builtin_inff()) return block_weights<S, kFormat>(t, kScales ? block.v_scale : nullptr, kKeys, m, l);
  auto sum = S::set1(0.0f), most = S::set1(0.0f);
  const auto below = S::set1(r);
  for (std::int64_t j = 0; j < kKeys; j += kStep) {
    typename S::f32 w[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) w[v] = S::sub(S::load(t + j + v * S::kLanes), below);
    exp2_with<S>(w, S::Exp2::kQuintic);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t at = j + v * S::kLanes;
      sum = S::add(sum, w[v]);
      const auto u = kScales ? S::mul(w[v], S::load(block.v_scale + at)) : w[v];
      if constexpr (kCodes) most = S::max(u, most);
      S::store(t + at, u);
    }
  }
  BlockFactors factors = join_block(r, S::reduce_add(sum), m, l);
  if constexpr (!kCodes) return factors;
  const spec::Scale code = spec::scale_of(S::reduce_max(most), spec::cache_weight_range(kFormat));
  code_weights<S, kFormat>(kKeys, code.inverse, true, t);
  factors.gamma *= code.scale;
  return factors;
}

// dots -> weights in place, for any row and block.
template <class S, DType kFormat>
BlockFactors masked_block_weights(const CacheAttentionProblem& p, const DecodeQueries& q, std::int64_t r,
                                  std::int64_t entry, const DecodeBlock& block, bool terms, float* t, float& m,
                                  float& l) {
  constexpr bool kScales = spec::cache_has_scales(kFormat);
  finish_scores<S>(p, q.factor[r], q.constant[r], kScales ? block.k_scale : nullptr, block.keys, t);
  if (terms) add_terms<S>(p, q.bias[r], entry, (q.first + r) / p.group(), block.start, block.keys, t);
  hide_keys(q, r, block.start, block.keys, t);
  return block_weights<S, kFormat>(t, kScales ? block.v_scale : nullptr, block.keys, m, l);
}

}  // namespace
}  // namespace octavo::cpu
