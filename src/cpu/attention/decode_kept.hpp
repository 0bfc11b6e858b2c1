// The kept keys of a chunk of query rows in attention over a key-value cache: their 16-bit rows in f32, into a state of
// their own.
#pragma once

#include <cstring>

#include "cpu/attention/decode_weights.hpp"

namespace octavo::cpu {
namespace {

// Kept keys of a chunk into a state of their own.
template <class S>
void attend_kept(const CacheCall& call, const CacheTask& task, const DecodeQueries& q, float* state) {
  const CacheAttentionProblem& p = *call.plan->problem;
  const CacheView& cache = p.cache;
  const CacheSequence& entry = p.entries[task.entry];
  constexpr std::int64_t kMost = kKeptSlots;
  const std::int64_t chunk_rows = call.plan->chunk_rows;
  float t[kMostDecodeRows][kMost];
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
      if (has_terms(p, task.entry, j + 1))
        add_terms<S>(p, q.bias[r], task.entry, (q.first + r) / p.group(), j, S::kLanes, score);
      t[r][c] = score[0];
    }
  }
  float* const m = state;
  float* const l = state + chunk_rows;
  for (std::int64_t r = 0; r < q.rows; ++r) {
    for (std::int64_t c = 0; c < count; ++c) m[r] = t[r][c] > m[r] ? t[r][c] : m[r];
    for (std::int64_t c = 0; c < count; ++c) {
      const bool hidden = t[r][c] == -__builtin_inff();
      t[r][c] = hidden ? 0.0f : t[r][c] != t[r][c] ? t[r][c] : __builtin_exp2f(t[r][c] - m[r]);
      if (!hidden) l[r] += __builtin_fmaf(cache.kept_v_unit[slot(c)], 0.0f, t[r][c]);  // NaN where V's token is
    }
  }
  for (std::int64_t c = 0; c < count; ++c) {
    load(cache.kept_v, cache.kept_v_unit, c, cache.v_columns);
    for (std::int64_t r = 0; r < q.rows; ++r) {
      const auto weight = S::set1(t[r][c] * spec::kCacheOutputUnit);
      float* const out = state + 2 * chunk_rows + r * cache.v_columns;
      if (t[r][c] == 0) continue;
      for (std::int64_t d = 0; d < cache.v_columns; d += S::kLanes)
        S::store(out + d, S::fma(weight, S::load(x + d), S::load(out + d)));
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
