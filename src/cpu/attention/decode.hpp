// Attention over a key-value cache: the rows of a KV head (all query heads that read it) against its keys, one split
// of 1024 keys after the other or in tasks of their own. Per block of 128 keys the weights of decode_weights.hpp, then
//   O = O 2^(m - m') + 2^(r - m') (max u / R) sum c_j V_j, V_j the codes of the token
// Splits leave states (m, l, O), which decode_fold.hpp folds in ascending order.
#pragma once

#include <type_traits>

#include "cpu/attention/decode_fold.hpp"
#include "cpu/attention/decode_kept.hpp"
#include "cpu/attention/decode_products_s4.hpp"

namespace octavo::cpu {
namespace {

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

// The products read `strips` as kProducts: the block's own, or the widened ones.
template <class S, DType kFormat, DType kProducts>
OCTAVO_INLINE void attend_tile(const CachePlan& plan, std::int64_t entry, const DecodeQueries& q,
                               const DecodeBlock& block, const CacheBlock& strips, const CacheBlock* next,
                               std::int64_t tile, std::byte* thread, float* state) {
  constexpr bool kCodes = spec::cache_rotates(kFormat);
  const CacheAttentionProblem& p = *plan.problem;
  const CacheView& cache = p.cache;
  float* const t = reinterpret_cast<float*>(thread + plan.scores_at);
  const std::int64_t left = q.rows - tile, rows = left < kDecodeTile ? left : kDecodeTile;
  float* const m = state + tile;
  float* const l = state + plan.chunk_rows + tile;
  float* const out = state + 2 * plan.chunk_rows + tile * cache.v_columns;
  constexpr std::int64_t kStep = 2 * S::kLanes;
  constexpr float kUnit = spec::cache_product_unit(kFormat);
  const bool terms = has_terms(p, entry, block.start + block.keys);
  with_rows<S>(rows, [&](auto count) __attribute__((always_inline)) {
    constexpr int kRows = decltype(count)::value;
    for (std::int64_t key = 0; key < block.keys; key += kStep) {
      const std::byte* const ahead = next != nullptr ? strips.v[key / kCacheStrip] : nullptr;
      const std::int64_t words = query_words(kFormat, cache.k_columns);
      if constexpr (kFormat == DType::s4)
        s4_scores<S, kRows>(strips, key, q.words + tile * words, words, q.sum + tile, ahead, t, spec::kCacheKeyBlock);
      else if constexpr (kFormat == DType::s8)
        code_scores<S, kRows>(strips, key, q.words + tile * words, words, ahead, t, spec::kCacheKeyBlock);
      else
        float_scores<S, kRows, kProducts>(strips, key, q.x + tile * padded(cache.head_dim), padded(cache.head_dim),
                                          cache.head_dim, ahead, t, spec::kCacheKeyBlock);
    }
    float alpha[kRows], gamma[kRows];
    for (int r = 0; r < kRows; ++r) {
      float* const row = t + r * spec::kCacheKeyBlock;
      const BlockFactors factors =
          is_plain(p, q, tile + r, block, terms)
              ? plain_block_weights<S, kFormat>(q.factor[tile + r], block, row, m[r], l[r])
              : masked_block_weights<S, kFormat>(p, q, tile + r, entry, block, terms, row, m[r], l[r]);
      alpha[r] = factors.alpha;
      gamma[r] = factors.gamma * kUnit;
    }
    // What masks hide may be NaN in V: no row of the tile multiplies it.
    std::uint8_t unused[spec::kCacheKeyBlock];
    if (!kCodes && terms) {
      for (std::int64_t j = block.lo; j < block.hi; ++j) {
        unused[j] = 1;
        for (int r = 0; r < kRows; ++r)
          if (t[r * spec::kCacheKeyBlock + j] != 0) unused[j] = 0;
      }
    }
    const auto values = [&](std::int64_t channel, auto vectors) __attribute__((always_inline)) {
      constexpr int kVectors = decltype(vectors)::value;
      const auto* const words = reinterpret_cast<const std::int32_t*>(t);
      if constexpr (kFormat == DType::s4)
        s4_values<S, kRows, kVectors>(strips, words, spec::kCacheKeyBlock, cache.v_columns, channel, alpha, gamma, next,
                                      out);
      else if constexpr (kFormat == DType::s8)
        code_values<S, kRows, kVectors>(strips, words, spec::kCacheKeyBlock, cache.v_columns, channel, alpha, gamma,
                                        next, out);
      else
        float_values<S, kRows, kVectors, kProducts>(strips, block.lo, block.hi, terms ? unused : nullptr, t,
                                                    spec::kCacheKeyBlock, cache.v_columns, channel, alpha, gamma, next,
                                                    out);
    };
    std::int64_t channel = 0;
    for (; channel + kStep <= cache.v_columns; channel += kStep) values(channel, std::integral_constant<int, 2>{});
    if constexpr (kStep > kCacheStrip) {  // Dv is padded to a multiple of 16
      if (channel < cache.v_columns) values(channel, std::integral_constant<int, 1>{});
    }
  });
}

// Keys of splits first..last-1 into `state`, and with `sums` each split folded into them. Blocks that no row sees are
// left out.
template <class S, DType kFormat>
void attend_splits(const CacheCall& call, const CacheTask& task, const DecodeQueries& q, std::int64_t first,
                   std::int64_t last, std::byte* thread, float* state, float* sums) {
  const CachePlan& plan = *call.plan;
  const CacheAttentionProblem& p = *plan.problem;
  std::int64_t begin = first * spec::kCacheSplit, end = last * spec::kCacheSplit;
  if (q.seen_by_any.begin > begin) begin = q.seen_by_any.begin / spec::kCacheKeyBlock * spec::kCacheKeyBlock;
  if (q.seen_by_any.end < end) end = q.seen_by_any.end;
  const auto last_of = [&](std::int64_t start) {
    return start + spec::kCacheKeyBlock < end ? start + spec::kCacheKeyBlock : end;
  };
  DecodeBlock blocks[2];
  int current = 0;
  start_state(plan, q.rows, state);
  if (begin < end) find_block<S>(p, task, begin, last_of(begin), blocks[0]);
  for (std::int64_t start = begin; start < end; start += spec::kCacheKeyBlock, current ^= 1) {
    if (sums != nullptr && start > begin && start % spec::kCacheSplit == 0) {
      fold_state<S>(plan, q.rows, state, sums);
      start_state(plan, q.rows, state);
    }
    DecodeBlock& block = blocks[current];
    const std::int64_t following = start + spec::kCacheKeyBlock;
    if (following < end) find_block<S>(p, task, following, last_of(following), blocks[current ^ 1]);
    [[maybe_unused]] CacheBlock wide;
    [[maybe_unused]] const bool widens = plan.wide_at != 0 && q.rows > 2 * kDecodeTile;
    if constexpr (kFormat == DType::e4m3) {
      if (widens) widen_block<S, kFormat>(p.cache, block.strips, reinterpret_cast<float*>(thread + plan.wide_at), wide);
    }
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
      if constexpr (kFormat == DType::e4m3) {
        if (widens) {
          attend_tile<S, kFormat, DType::f32>(plan, task.entry, q, block, wide, nullptr, tile, thread, state);
          continue;
        }
      }
      attend_tile<S, kFormat, kFormat>(plan, task.entry, q, block, block.strips, next, tile, thread, state);
    }
  }
  if (sums != nullptr) fold_state<S>(plan, q.rows, state, sums);
}

template <class S>
OCTAVO_INLINE void attend_splits_of(const CacheCall& call, const CacheTask& task, const DecodeQueries& q,
                                    std::int64_t first, std::int64_t last, std::byte* thread, float* state,
                                    float* sums) {
  switch (call.plan->problem->cache.format) {
    case DType::f32:
      return attend_splits<S, DType::f32>(call, task, q, first, last, thread, state, sums);
    case DType::f16:
      return attend_splits<S, DType::f16>(call, task, q, first, last, thread, state, sums);
    case DType::bf16:
      return attend_splits<S, DType::bf16>(call, task, q, first, last, thread, state, sums);
    case DType::e4m3:
      return attend_splits<S, DType::e4m3>(call, task, q, first, last, thread, state, sums);
    case DType::s4:
      return attend_splits<S, DType::s4>(call, task, q, first, last, thread, state, sums);
    default:
      return attend_splits<S, DType::s8>(call, task, q, first, last, thread, state, sums);
  }
}

template <class S>
OCTAVO_INLINE void attend_kept_of(const CacheCall& call, const CacheTask& task, const DecodeQueries& q, float* state) {
  start_state(*call.plan, q.rows, state);
  if (q.first_kept != 0) attend_kept<S>(call, task, q, state);
}

// One task: a split of a chunk, or all of a chunk.
template <class S>
void attend_cache(const CacheCall& call, const CacheTask& task, std::byte* thread) {
  const CachePlan& plan = *call.plan;
  const std::int64_t splits = entry_plan(call, task.entry).splits;
  DecodeQueries q;
  prepare_queries<S>(call, task, thread, q);
  if (!plan.whole) {
    attend_splits_of<S>(call, task, q, task.split, task.split + 1, thread, cache_state(call, task, task.split),
                        nullptr);
    if (task.split == 0 && plan.keeps) attend_kept_of<S>(call, task, q, cache_state(call, task, splits));
    return;
  }
  float* const sums = reinterpret_cast<float*>(thread + plan.sums_at);
  float* const state = reinterpret_cast<float*>(thread + plan.state_at);
  start_state(plan, q.rows, sums);
  attend_splits_of<S>(call, task, q, 0, splits, thread, state, sums);
  if (plan.keeps) {
    attend_kept_of<S>(call, task, q, state);
    fold_state<S>(plan, q.rows, state, sums);
  }
  finish_rows<S>(call, task, q, sums);
}

// The end of a chunk whose splits were tasks of their own.
template <class S>
void finish_cache(const CacheCall& call, const CacheTask& task, std::byte* thread) {
  const CachePlan& plan = *call.plan;
  const std::int64_t splits = entry_plan(call, task.entry).splits;
  DecodeQueries q;
  prepare_queries<S>(call, task, thread, q);
  float* const sums = reinterpret_cast<float*>(thread + plan.sums_at);
  start_state(plan, q.rows, sums);
  for (std::int64_t s = 0; s < splits + (plan.keeps ? 1 : 0); ++s)
    fold_state<S>(plan, q.rows, cache_state(call, task, s), sums);
  finish_rows<S>(call, task, q, sums);
}

}  // namespace
}  // namespace octavo::cpu
