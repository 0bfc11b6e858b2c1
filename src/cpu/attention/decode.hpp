// Attention over a key-value cache: the rows of a KV head (all query heads that read it) against one split of keys.
// Per block of 128 keys, base 2, for each row:
//   T_j = softmax_scale log2(e) q.k_j (softcap: c tanh), -infinity where the key is hidden or kept
//   r = max T_j,  w_j = 2^(T_j - r),  u_j = w_j s_j,  c_j = rhe(u_j R / max u), R = 32767
//   m' = max(m, r),  l = l 2^(m - m') + 2^(r - m') sum w_j
//   O = O 2^(m - m') + 2^(r - m') (max u / R) sum c_j V_j, V_j the codes of the token
// s_j is the scale of V's token: the fold without a logarithm. Float formats have c = u, and
// without scales u = w. For codes Q is taken in 16 bits.
#pragma once

#include <cstring>
#include <numbers>
#include <type_traits>

#include "cpu/attention/decode_products.hpp"
#include "cpu/attention/score_mod.hpp"
#include "cpu/operands/cache_plan.hpp"
#include "cpu/operands/load_transform.hpp"
#include "cpu/simd/exp2.hpp"
#include "spec/epilogue.hpp"

namespace octavo::cpu {
namespace {

// The query rows of a chunk, prepared.
struct DecodeQueries {
  std::int64_t rows;            // used ones
  float* x;                     // [kDecodeRows][padded D], rotated for codes
  std::int32_t* words;          // [kDecodeRows][k_columns / 2] codes in pairs
  float factor[kDecodeRows];    // of the products with codes; NaN: the row is not finite
  float plain[kDecodeRows];     // of the products of x
  float constant[kDecodeRows];  // softmax_scale * q.mean(K), natural units
  spec::KeyRange seen[kDecodeRows];
  spec::KeyRange near[kDecodeRows];  // kept
  std::int64_t first_kept;           // 1: token 0 is kept
};

OCTAVO_INLINE std::int64_t query_head(const CacheAttentionProblem& p, std::int64_t kv_head, std::int64_t row) {
  return kv_head * p.group() + row % p.group();
}

// 16-bit codes of a transformed row, per 4 channels the pairs (0, 2) and (1, 3).
template <class S>
OCTAVO_INLINE void code_query(const float* x, std::int64_t columns, float inverse, std::int32_t* words) {
  alignas(64) std::int32_t codes[kMaxPadded];
  for (std::int64_t d = 0; d < columns; d += S::kLanes)
    S::store(codes + d, S::round_to_s32(S::mul(S::load(x + d), S::set1(inverse))));
  for (std::int64_t d = 0; d < columns; d += 4) {
    words[d / 2] = (codes[d] & 0xffff) | static_cast<std::int32_t>(static_cast<std::uint32_t>(codes[d + 2]) << 16);
    words[d / 2 + 1] =
        (codes[d + 1] & 0xffff) | static_cast<std::int32_t>(static_cast<std::uint32_t>(codes[d + 3]) << 16);
  }
}

template <class S>
OCTAVO_INLINE void prepare_queries(const CacheCall& call, const CacheTask& task, std::byte* thread, DecodeQueries& q) {
  const CachePlan& plan = *call.plan;
  const CacheAttentionProblem& p = *plan.problem;
  const CacheView& cache = p.cache;
  const CacheSequence& entry = p.entries[task.entry];
  const std::int64_t dim = cache.head_dim, first = task.chunk * kDecodeRows;
  const float scale = static_cast<float>(p.softmax_scale), base2 = static_cast<float>(p.softmax_scale * spec::kLog2E);
  q.rows = plan.rows - first < kDecodeRows ? plan.rows - first : kDecodeRows;
  q.x = reinterpret_cast<float*>(thread + plan.q_floats_at);
  q.words = reinterpret_cast<std::int32_t*>(thread + plan.q_words_at);
  q.first_kept = cache.kept_k != nullptr && entry.keys > 0 ? 1 : 0;
  alignas(64) std::int32_t signs[kMaxPadded];
  if (cache.rotated()) rotation_signs(signs, dim);
  const float* mean =
      cache.rotated() ? cache.k_mean + cache.head(entry.sequence, task.kv_head) * cache.mean_columns : nullptr;
  for (std::int64_t r = 0; r < q.rows; ++r) {
    const std::int64_t row = (first + r) / p.group(), head = query_head(p, task.kv_head, first + r);
    float* x = q.x + r * padded(dim);
    load_row<S>(p.q, p.q.offset(task.entry, head, row), dim, x);
    const bool finite = row_range<S>(x, dim).finite;
    q.factor[r] = q.plain[r] = finite ? base2 : __builtin_nanf("");
    q.constant[r] = 0;
    q.seen[r] = spec::visible_keys(p.causal, p.window_left, p.window_right, p.q_rows, entry.keys, row);
    q.near[r] = {0, 0};
    if (!cache.rotated()) continue;
    if (!finite) {
      for (std::int64_t d = 0; d < padded(dim); ++d) x[d] = 0;
    }
    rotate_row<S>(x, signs, dim);
    auto sum = S::set1(0.0f);
    for (std::int64_t d = 0; d < padded(dim); d += S::kLanes) sum = S::fma(S::load(x + d), S::load(mean + d), sum);
    q.constant[r] = scale * S::reduce_add(sum);
    const spec::Scale code = spec::scale_of(row_range<S>(x, dim).amax, spec::kRangeQ16);
    q.factor[r] *= code.scale;
    code_query<S>(x, cache.k_columns, code.inverse, q.words + r * (cache.k_columns / 2));
    if (q.first_kept != 0) {
      const std::int64_t centre = spec::diagonal(p.causal, p.q_rows, entry.keys, row);
      q.near[r] = spec::cache_near_keys(centre, q.seen[r], entry.kept_begin);
    }
  }
}

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

// T -> weights of one row in place (codes: in pairs as code_values takes them), and the running state.
template <class S, bool kCodes>
OCTAVO_INLINE BlockFactors block_weights(float* t, const float* v_scale, std::int64_t keys, float& m, float& l) {
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
  const float next = r > m ? r : m;
  const float alpha = m == -__builtin_inff() ? 0.0f : __builtin_exp2f(m - next), beta = __builtin_exp2f(r - next);
  m = next;
  l = l * alpha + beta * S::reduce_add(sum);
  if constexpr (!kCodes) return {alpha, beta * spec::kCacheOutputUnit};
  const spec::Scale code = spec::scale_of(S::reduce_max(most), spec::kCacheWeightRange);
  auto* words = reinterpret_cast<std::int32_t*>(t);
  for (std::int64_t j = 0; j < keys; j += S::kLanes) {
    const auto u = S::load(t + j);
    // What is not finite makes the row NaN by way of l.
    const auto c = S::round_to_s32(S::mul(S::select(S::is_finite(u), u, zero), S::set1(code.inverse)));
    const auto pair = S::template shift_left<16>(S::bits(S::template swap<2>(S::from_bits(c))));
    S::store(words + j, S::or_s32(c, pair));
  }
  return {alpha, beta * code.scale * spec::kCacheOutputUnit};
}

template <class S, class Body>
OCTAVO_INLINE void with_rows(std::int64_t rows, const Body& body) {
  switch (rows) {
    case 1:
      return body(std::integral_constant<int, 1>{});
    case 2:
      return body(std::integral_constant<int, 2>{});
    case 3:
      return body(std::integral_constant<int, 3>{});
    default:
      return body(std::integral_constant<int, 4>{});
  }
}

// What a tile of rows needs of a block.
struct DecodeBlock {
  CacheBlock strips;
  std::int64_t start;   // first key
  std::int64_t keys;    // whole pairs of vectors that hold the block's keys
  std::int64_t lo, hi;  // keys of the block that some row of the tile sees
  alignas(64) float k_scale[spec::kCacheKeyBlock];
  alignas(64) float v_scale[spec::kCacheKeyBlock];
};

template <class S>
OCTAVO_INLINE void find_block(const CacheAttentionProblem& p, const CacheTask& task, std::int64_t start,
                              std::int64_t end, DecodeBlock& block) {
  const CacheView& cache = p.cache;
  const CacheSequence& entry = p.entries[task.entry];
  const std::int64_t bits = spec::cache_bits(cache.format);
  block.start = start;
  block.strips.strips = (end - start + kCacheStrip - 1) / kCacheStrip;
  constexpr std::int64_t kStep = 2 * S::kLanes < kCacheStrip ? kCacheStrip : 2 * S::kLanes;
  block.keys = (end - start + kStep - 1) / kStep * kStep;
  for (std::int64_t s = 0; s < kBlockStrips; ++s) {
    const std::int64_t strip = s < block.strips.strips ? s : block.strips.strips - 1;
    const std::int64_t row = cache.row(entry.sequence, task.kv_head, start + strip * kCacheStrip);
    block.strips.k[s] = cache.k + row * cache.k_columns * bits / 8;
    block.strips.v[s] = cache.v + row * cache.v_columns * bits / 8;
    if (!cache.has_scales() || s * kCacheStrip >= block.keys) continue;
    for (std::int64_t j = 0; j < kCacheStrip; j += S::kLanes) {
      S::store(block.k_scale + s * kCacheStrip + j, S::load(cache.k_scale + row + j));
      S::store(block.v_scale + s * kCacheStrip + j, S::load(cache.v_scale + row + j));
    }
  }
}

template <class S, DType kFormat>
OCTAVO_INLINE void attend_tile(const CachePlan& plan, const DecodeQueries& q, const DecodeBlock& block,
                               const CacheBlock* next, std::int64_t tile, std::byte* thread, float* state) {
  constexpr bool kCodes = spec::cache_rotates(kFormat), kScales = spec::cache_has_scales(kFormat);
  const CacheAttentionProblem& p = *plan.problem;
  const CacheView& cache = p.cache;
  float* const t = reinterpret_cast<float*>(thread + plan.scores_at);
  const std::int64_t left = q.rows - tile, rows = left < kDecodeTile ? left : kDecodeTile;
  float* const m = state + tile;
  float* const l = state + kDecodeRows + tile;
  float* const out = state + 2 * kDecodeRows + tile * cache.v_columns;
  constexpr std::int64_t kStep = 2 * S::kLanes;
  with_rows<S>(rows, [&](auto count) __attribute__((always_inline)) {
    constexpr int kRows = decltype(count)::value;
    for (std::int64_t key = 0; key < block.keys; key += kStep) {
      FetchAhead fetch;
      if (next != nullptr && key % kCacheStrip == 0) {
        fetch.k = next->k[key / kCacheStrip];
        fetch.v = block.strips.v[key / kCacheStrip];
      }
      if constexpr (kCodes)
        code_scores<S, kFormat, kRows>(block.strips, key, q.words + tile * (cache.k_columns / 2), cache.k_columns / 2,
                                       fetch, t, spec::kCacheKeyBlock);
      else
        float_scores<S, kRows, kFormat>(block.strips, key, q.x + tile * padded(cache.head_dim), padded(cache.head_dim),
                                        cache.head_dim, fetch, t, spec::kCacheKeyBlock);
    }
    float alpha[kRows], gamma[kRows];
    for (int r = 0; r < kRows; ++r) {
      float* const row = t + r * spec::kCacheKeyBlock;
      finish_scores<S>(p, q.factor[tile + r], q.constant[tile + r], kScales ? block.k_scale : nullptr, block.keys, row);
      hide_keys(q, tile + r, block.start, block.keys, row);
      const BlockFactors factors =
          block_weights<S, kCodes>(row, kScales ? block.v_scale : nullptr, block.keys, m[r], l[r]);
      alpha[r] = factors.alpha;
      gamma[r] = factors.gamma;
    }
    const auto values = [&](std::int64_t channel, auto vectors) __attribute__((always_inline)) {
      constexpr int kVectors = decltype(vectors)::value;
      if constexpr (kCodes)
        code_values<S, kFormat, kRows, kVectors>(block.strips, reinterpret_cast<const std::int32_t*>(t),
                                                 spec::kCacheKeyBlock, cache.v_columns, channel, alpha, gamma, out);
      else
        float_values<S, kRows, kVectors, kFormat>(block.strips, block.lo, block.hi, t, spec::kCacheKeyBlock,
                                                  cache.v_columns, channel, alpha, gamma, out);
    };
    std::int64_t channel = 0;
    for (; channel + kStep <= cache.v_columns; channel += kStep) values(channel, std::integral_constant<int, 2>{});
    if (channel < cache.v_columns) values(channel, std::integral_constant<int, 1>{});
  });
}

// Kept keys of a chunk into a state of their own.
template <class S>
OCTAVO_INLINE void attend_kept(const CacheCall& call, const CacheTask& task, const DecodeQueries& q, float* state) {
  const CacheAttentionProblem& p = *call.plan->problem;
  const CacheView& cache = p.cache;
  const CacheSequence& entry = p.entries[task.entry];
  constexpr std::int64_t kMost = kKeptSlots;
  float t[kDecodeRows][kMost];
  alignas(64) float x[kMaxPadded];
  std::int64_t begin = entry.keys, end = 0;  // union of the near keys
  for (std::int64_t r = 0; r < q.rows; ++r) {
    if (q.near[r].begin == q.near[r].end) continue;
    if (q.near[r].begin < begin) begin = q.near[r].begin;
    if (q.near[r].end > end) end = q.near[r].end;
  }
  if (begin > end) begin = end;
  const std::int64_t count = 1 + end - begin;  // token 0, then the near ones
  const auto token = [&](std::int64_t c) { return c == 0 ? 0 : begin + c - 1; };
  const auto slot = [&](std::int64_t c) {
    return cache.kept_slot(entry.sequence, task.kv_head, c == 0 ? 0 : 1 + token(c) % kKeptRing);
  };
  const auto load = [&](const std::uint16_t* rows, const float* units, std::int64_t c, std::int64_t columns) {
    alignas(64) std::uint16_t padded_row[kMaxPadded] = {};
    std::memcpy(padded_row, rows + slot(c) * columns, static_cast<std::size_t>(columns) * 2);
    for (std::int64_t d = 0; d < padded(columns); d += S::kLanes)
      S::store(x + d, S::mul(S::load_f16(padded_row + d), S::set1(units[slot(c)])));
  };
  for (std::int64_t c = 0; c < count; ++c) {
    load(cache.kept_k, cache.kept_k_unit, c, cache.k_columns);
    for (std::int64_t r = 0; r < q.rows; ++r) {
      const std::int64_t j = token(c);
      // Token 0 may be a near key too: it is taken once, as the first.
      const bool kept =
          c == 0 ? q.seen[r].begin == 0 && q.seen[r].end > 0 : j > 0 && j >= q.near[r].begin && j < q.near[r].end;
      t[r][c] = -__builtin_inff();
      if (!kept) continue;
      auto sum = S::set1(0.0f);
      const float* row = q.x + r * padded(cache.head_dim);
      for (std::int64_t d = 0; d < padded(cache.head_dim); d += S::kLanes)
        sum = S::fma(S::load(row + d), S::load(x + d), sum);
      alignas(64) float score[S::kLanes];
      S::store(score, S::set1(S::reduce_add(sum)));
      finish_scores<S>(p, q.plain[r], q.constant[r], nullptr, S::kLanes, score);
      t[r][c] = score[0];
    }
  }
  float* const m = state;
  float* const l = state + kDecodeRows;
  for (std::int64_t r = 0; r < q.rows; ++r) {
    for (std::int64_t c = 0; c < count; ++c) m[r] = t[r][c] > m[r] ? t[r][c] : m[r];
    for (std::int64_t c = 0; c < count; ++c) {
      const bool hidden = t[r][c] == -__builtin_inff();
      t[r][c] = hidden ? 0.0f : t[r][c] != t[r][c] ? t[r][c] : __builtin_exp2f(t[r][c] - m[r]);
      l[r] += t[r][c];
    }
  }
  for (std::int64_t c = 0; c < count; ++c) {
    load(cache.kept_v, cache.kept_v_unit, c, cache.v_columns);
    for (std::int64_t r = 0; r < q.rows; ++r) {
      const auto weight = S::set1(t[r][c] * spec::kCacheOutputUnit);
      float* const out = state + 2 * kDecodeRows + r * cache.v_columns;
      if (t[r][c] == 0) continue;
      for (std::int64_t d = 0; d < cache.v_columns; d += S::kLanes)
        S::store(out + d, S::fma(weight, S::load(x + d), S::load(out + d)));
    }
  }
}

OCTAVO_INLINE void start_state(const CachePlan& plan, std::int64_t rows, float* state) {
  for (std::int64_t r = 0; r < kDecodeRows; ++r) state[r] = -__builtin_inff(), state[kDecodeRows + r] = 0;
  const std::int64_t end = 2 * kDecodeRows + rows * plan.problem->cache.v_columns;
  for (std::int64_t i = 2 * kDecodeRows; i < end; ++i) state[i] = 0;
}

template <class S, DType kFormat>
OCTAVO_INLINE void attend_split(const CacheCall& call, const CacheTask& task, const DecodeQueries& q, std::byte* thread,
                                float* state) {
  const CachePlan& plan = *call.plan;
  const CacheAttentionProblem& p = *plan.problem;
  const std::int64_t keys = p.entries[task.entry].keys, begin = task.split * spec::kCacheSplit;
  const std::int64_t end = begin + spec::kCacheSplit < keys ? begin + spec::kCacheSplit : keys;
  DecodeBlock blocks[2];
  int current = 0;
  const auto last_of = [&](std::int64_t start) {
    return start + spec::kCacheKeyBlock < end ? start + spec::kCacheKeyBlock : end;
  };
  if (begin < end) find_block<S>(p, task, begin, last_of(begin), blocks[0]);
  for (std::int64_t start = begin; start < end; start += spec::kCacheKeyBlock, current ^= 1) {
    DecodeBlock& block = blocks[current];
    const std::int64_t following = start + spec::kCacheKeyBlock;
    if (following < end) find_block<S>(p, task, following, last_of(following), blocks[current ^ 1]);
    for (std::int64_t tile = 0; tile < q.rows; tile += kDecodeTile) {
      block.lo = last_of(start), block.hi = start;
      for (std::int64_t r = tile; r < q.rows && r < tile + kDecodeTile; ++r) {
        if (q.seen[r].begin < block.lo) block.lo = q.seen[r].begin;
        if (q.seen[r].end > block.hi) block.hi = q.seen[r].end;
      }
      block.lo = (block.lo > start ? block.lo : start) - start;
      block.hi = (block.hi < last_of(start) ? block.hi : last_of(start)) - start;
      if (block.lo >= block.hi) continue;
      const CacheBlock* next = tile == 0 ? &blocks[following < end ? current ^ 1 : current].strips : nullptr;
      attend_tile<S, kFormat>(plan, q, block, next, tile, thread, state);
    }
  }
}

// Merges the states of row r in ascending order and writes the row's output and LSE.
template <class S>
OCTAVO_INLINE void finish_row(const CacheCall& call, const CacheTask& task, const DecodeQueries& q, std::int64_t r,
                              const std::int32_t* signs) {
  const CachePlan& plan = *call.plan;
  const CacheAttentionProblem& p = *plan.problem;
  const CacheView& cache = p.cache;
  const std::int64_t splits = splits_of(p.entries[task.entry].keys), states = splits + (plan.keeps ? 1 : 0);
  alignas(64) float sums[kMaxPadded] = {};
  float m = -__builtin_inff(), l = 0;
  for (std::int64_t s = 0; s < states; ++s) {
    const float* state = cache_state(call, task, s < splits ? s : plan.splits);
    if (state[r] > m) m = state[r];
  }
  for (std::int64_t s = 0; s < states; ++s) {
    const float* state = cache_state(call, task, s < splits ? s : plan.splits);
    const float weight = state[r] == -__builtin_inff() ? 0.0f : __builtin_exp2f(state[r] - m);
    const float of_state = state[kDecodeRows + r];
    l += of_state != of_state ? of_state : of_state * weight;
    if (weight == 0) continue;
    const float* out = state + 2 * kDecodeRows + r * cache.v_columns;
    for (std::int64_t d = 0; d < cache.v_columns; d += S::kLanes)
      S::store(sums + d, S::fma(S::set1(weight), S::load(out + d), S::load(sums + d)));
  }
  const std::int64_t row = (task.chunk * kDecodeRows + r) / p.group();
  const std::int64_t head = query_head(p, task.kv_head, task.chunk * kDecodeRows + r);
  const float sink = p.sinks.data == nullptr
                         ? -__builtin_inff()
                         : read_number(p.sinks, task.entry * p.sinks.strides[0] + head * p.sinks.strides[1]);
  const float constant = p.softcap > 0 ? 0.0f : q.constant[r];  // with softcap it was added before the tanh
  const double sink_logit = (static_cast<double>(sink) - static_cast<double>(constant)) * std::numbers::log2e;
  const spec::RowEnd end = spec::end_of_row<EpilogueOps<S>>(m, l, sink, sink_logit);
  const float factor = end.sees ? end.factor / end.sum : 0.0f;
  // In two steps: 1 / unit beside a small factor must not lose the sums' digits.
  const auto by = S::set1(factor), unit = S::set1(1.0f / spec::kCacheOutputUnit);
  for (std::int64_t d = 0; d < cache.v_columns; d += S::kLanes)
    S::store(sums + d, end.sees ? S::mul(S::mul(S::load(sums + d), by), unit) : S::set1(0.0f));
  if (cache.rotated() && end.sees) rotate_row_back<S>(sums, signs, cache.value_dim);
  store_row<S>(p.out, p.out.offset(task.entry, head, row), cache.value_dim, sums);
  if (p.lse == nullptr) return;
  const double max_lse = static_cast<double>(m) * std::numbers::ln2 + static_cast<double>(constant);
  p.lse[task.entry * p.lse_strides[0] + head * p.lse_strides[1] + row * p.lse_strides[2]] =
      spec::lse_of_row<EpilogueOps<S>>(end, sink, max_lse);
}

// One task of keys.
template <class S>
void attend_cache(const CacheCall& call, const CacheTask& task, std::byte* thread) {
  const CachePlan& plan = *call.plan;
  DecodeQueries q;
  prepare_queries<S>(call, task, thread, q);
  float* state = cache_state(call, task, task.split);
  start_state(plan, q.rows, state);
  switch (plan.problem->cache.format) {
    case DType::f32:
      attend_split<S, DType::f32>(call, task, q, thread, state);
      break;
    case DType::f16:
      attend_split<S, DType::f16>(call, task, q, thread, state);
      break;
    case DType::bf16:
      attend_split<S, DType::bf16>(call, task, q, thread, state);
      break;
    case DType::e4m3:
      attend_split<S, DType::e4m3>(call, task, q, thread, state);
      break;
    case DType::s4:
      attend_split<S, DType::s4>(call, task, q, thread, state);
      break;
    default:
      attend_split<S, DType::s8>(call, task, q, thread, state);
      break;
  }
  if (task.split != 0 || !plan.keeps) return;
  state = cache_state(call, task, plan.splits);
  start_state(plan, q.rows, state);
  if (q.first_kept != 0) attend_kept<S>(call, task, q, state);
}

// The end of a chunk whose tasks are done.
template <class S>
void finish_cache(const CacheCall& call, const CacheTask& task, std::byte* thread) {
  DecodeQueries q;
  prepare_queries<S>(call, task, thread, q);
  alignas(64) std::int32_t signs[kMaxPadded];
  rotation_signs(signs, call.plan->problem->cache.value_dim);
  for (std::int64_t r = 0; r < q.rows; ++r) finish_row<S>(call, task, q, r, signs);
}

}  // namespace
}  // namespace octavo::cpu
