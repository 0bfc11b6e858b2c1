// The query rows of a chunk of attention over a key-value cache, prepared: what meets codes is rotated and taken in 16
// bits (s4: in 8); which keys a row sees by position, and which of them it keeps.
#pragma once

#include "cpu/attention/decode_terms.hpp"
#include "cpu/operands/cache_plan.hpp"
#include "cpu/operands/load_transform.hpp"
#include "spec/scale.hpp"

namespace octavo::cpu {
namespace {

// The query rows of a chunk, prepared.
struct DecodeQueries {
  std::int64_t first, rows;           // of the entry's rows of the KV head
  spec::KeyRange seen_by_any;         // a range that holds what the rows see
  float* x;                           // [rows][padded D], rotated for codes
  std::int32_t* words;                // [rows][query_words()] codes
  std::int32_t sum[kMostDecodeRows];  // of the codes
  float factor[kMostDecodeRows];      // of the products with codes; NaN: the row is not finite
  float plain[kMostDecodeRows];       // of the products of x
  float constant[kMostDecodeRows];    // softmax_scale * q.mean(K), natural units
  spec::KeyRange seen[kMostDecodeRows];
  spec::KeyRange near[kMostDecodeRows];  // kept
  std::int64_t first_kept;               // 1: token 0 is kept
  RowBias bias[kMostDecodeRows];         // with masks or ALiBi
  float lse_offset[kMostDecodeRows];     // what was taken off the scores, base 2
};

OCTAVO_INLINE std::int64_t query_head(const CacheAttentionProblem& p, std::int64_t kv_head, std::int64_t row) {
  return kv_head * p.group() + row % p.group();
}

// Words of codes of a row: 16 bits, per 4 channels the pairs (0, 2) and (1, 3).
OCTAVO_INLINE std::int64_t query_words(DType format, std::int64_t columns) {
  return format == DType::s4 ? columns / 4 : columns / 2;
}

// Quantizes a transformed row of Q and packs its codes into 32-bit words. Beside s4 keys codes have 8 bits, and two
// words hold 8 channels in the order (0, 4, 2, 6), (1, 5, 3, 7). Returns the sum of the codes.
template <class S>
OCTAVO_INLINE std::int32_t code_query(const float* x, std::int64_t columns, bool bytes, float inverse,
                                      std::int32_t* words) {
  alignas(64) std::int32_t codes[kMaxPadded];
  for (std::int64_t d = 0; d < columns; d += S::kLanes)
    S::store(codes + d, S::round_to_s32(S::mul(S::load(x + d), S::set1(inverse))));
  std::int32_t sum = 0;
  for (std::int64_t d = 0; d < columns; ++d) sum += codes[d];
  const auto part = [&](std::int64_t d, std::uint32_t mask, int shift) {
    return (static_cast<std::uint32_t>(codes[d]) & mask) << shift;
  };
  for (std::int64_t d = 0; bytes && d < columns; d += 8) {
    for (std::int64_t i = 0; i < 2; ++i)
      words[d / 4 + i] = static_cast<std::int32_t>(part(d + i, 0xff, 0) | part(d + i + 4, 0xff, 8) |
                                                   part(d + i + 2, 0xff, 16) | part(d + i + 6, 0xff, 24));
  }
  for (std::int64_t d = 0; !bytes && d < columns; d += 4) {
    for (std::int64_t i = 0; i < 2; ++i)
      words[d / 2 + i] = static_cast<std::int32_t>(part(d + i, 0xffff, 0) | part(d + i + 2, 0xffff, 16));
  }
  return sum;
}

template <class S>
void prepare_queries(const CacheCall& call, const CacheTask& task, std::byte* thread, DecodeQueries& q) {
  const CachePlan& plan = *call.plan;
  const CacheAttentionProblem& p = *plan.problem;
  const CacheView& cache = p.cache;
  const CacheSequence& entry = p.entries[task.entry];
  const std::int64_t dim = cache.head_dim, first = task.chunk * plan.chunk_rows;
  const std::int64_t left = entry_plan(call, task.entry).rows - first;
  const float scale = static_cast<float>(p.softmax_scale), base2 = static_cast<float>(p.softmax_scale * spec::kLog2E);
  q.first = first;
  q.rows = left < plan.chunk_rows ? left : plan.chunk_rows;
  q.seen_by_any = {0, 0};
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
    load_row<S>(p.q, p.q.offset(task.entry, head, entry.q_begin + row), dim, x);
    const bool finite = row_range<S>(x, dim).finite;
    q.plain[r] = finite ? base2 : __builtin_nanf("");
    q.factor[r] = q.plain[r] * spec::cache_product_unit(cache.format);
    q.constant[r] = 0;
    q.seen[r] = spec::visible_keys(p.causal, p.window_left, p.window_right, entry.q_rows, entry.keys, row);
    q.near[r] = {0, 0};
    if (q.seen[r].begin < q.seen[r].end) {
      const bool first_one = q.seen_by_any.begin == q.seen_by_any.end;
      if (first_one || q.seen[r].begin < q.seen_by_any.begin) q.seen_by_any.begin = q.seen[r].begin;
      if (first_one || q.seen[r].end > q.seen_by_any.end) q.seen_by_any.end = q.seen[r].end;
    }
    find_terms<S>(plan, task, head, row, q.seen[r], q.bias[r], q.lse_offset[r]);
    if (!cache.rotated()) continue;
    if (!finite) {
      for (std::int64_t d = 0; d < padded(dim); ++d) x[d] = 0;
    }
    rotate_row<S>(x, signs, dim);
    auto sum = S::set1(0.0f);
    for (std::int64_t d = 0; d < padded(dim); d += S::kLanes) sum = S::fma(S::load(x + d), S::load(mean + d), sum);
    q.constant[r] = scale * S::reduce_add(sum);
    const spec::Scale code = spec::scale_of(row_range<S>(x, dim).amax, spec::cache_query_range(cache.format));
    q.factor[r] *= code.scale;
    q.sum[r] = code_query<S>(x, cache.k_columns, cache.format == DType::s4, code.inverse,
                             q.words + r * query_words(cache.format, cache.k_columns));
    if (q.first_kept != 0) {
      const std::int64_t centre = spec::diagonal(p.causal, entry.q_rows, entry.keys, row);
      q.near[r] = spec::cache_near_keys(centre, q.seen[r], entry.kept_begin);
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
