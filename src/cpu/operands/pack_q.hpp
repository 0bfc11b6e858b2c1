// Packs Q: rows of one query block become words and row factors of the qk stage.
#pragma once

#include "cpu/operands/load_transform.hpp"
#include "cpu/operands/row_scales.hpp"
#include "spec/base2.hpp"
#include "spec/stray_rows.hpp"
#include "spec/visibility.hpp"

namespace octavo::cpu {
namespace {

template <class S>
OCTAVO_INLINE float dot(const float* a, const float* b, std::int64_t dim) {
  auto sum = S::set1(0.0f);
  for (std::int64_t d = 0; d < dim; d += S::kLanes) sum = S::fma(S::load(a + d), S::load(b + d), sum);
  return S::reduce_add(sum);
}

// 16-bit codes of a row as two byte planes.
template <class S>
OCTAVO_INLINE void quantize_row_16(const float* x, std::int64_t dim, float inverse, std::int8_t* high, std::int8_t* low,
                                   std::int32_t* high_sum, std::int32_t* low_sum) {
  *high_sum = *low_sum = 0;
  alignas(64) std::int32_t codes[kMaxPadded];
  for (std::int64_t d = 0; d < padded(dim); d += S::kLanes)
    S::store(codes + d, codes_of<S>(S::load(x + d), S::set1(inverse), S::set1(spec::kRangeQ16)));
  for (std::int64_t d = 0; d < padded(dim); ++d) {
    const spec::Q16Code wide = spec::split_q16(codes[d]);
    high[d] = static_cast<std::int8_t>(wide.high);
    low[d] = static_cast<std::int8_t>(wide.low);
    *high_sum += wide.high;
    *low_sum += wide.low;
  }
}

// Rows of one query block while they are transformed, in the thread's buffer f32 [128][padded D].
struct QueryRows {
  const Plan* plan;
  RowSource source;
  Sequence sequence;
  std::int64_t b, head, block_first;
  float* buffer;
  float* mean;  // of the block; zeros without smoothing
  bool smooth;
  const float* gain;  // null: none

  float* row(std::int64_t r) const { return buffer + (r - block_first) * plan->k_width; }
};

// The sums of the block's rows but the stray ones; false where none is stray: nothing is done. `ranges`: of the rows.
template <class S>
OCTAVO_INLINE bool sum_without_stray_rows(const QueryRows& rows, std::int64_t from, std::int64_t to,
                                          const RowRange* ranges, float* counts) {
  const std::int64_t dim = rows.plan->problem->head_dim;
  spec::ExponentHistogram histogram;
  for (std::int64_t r = from; r < to; ++r) spec::add_row(histogram, ranges[r - from].amax);
  const std::uint32_t limit = spec::exponent_limit(histogram);
  std::int64_t counted[kQueryBlock], count = 0;
  for (std::int64_t r = from; r < to; ++r)
    if (!spec::is_stray(ranges[r - from].amax, limit)) counted[count++] = r;
  if (count == to - from) return false;
  sum_rows<S>(count, dim, rows.mean, counts,
              [&](std::int64_t r) __attribute__((always_inline)) { return rows.row(counted[r]); });
  return true;
}

// Rows from..to-1 as floats, rotated; the mean needs all rows of the block.
template <class S>
OCTAVO_INLINE void load_queries(const QueryRows& rows, std::int64_t from, std::int64_t to) {
  const Plan& plan = *rows.plan;
  const Operand& q = plan.problem->q;
  const std::int64_t dim = plan.problem->head_dim;
  alignas(64) std::int32_t signs[kMaxPadded];
  if (plan.rotate_qk) rotation_signs(signs, dim);
  const std::int32_t* flips = plan.rotate_qk ? signs : nullptr;
  const bool wants_ranges = rows.smooth && plan.robust;
  RowRange ranges[kQueryBlock];
  const bool loaded = with_register_rows<S>(q, dim, [&](auto vectors) __attribute__((always_inline)) {
    constexpr int kVectors = decltype(vectors)::value;
    typename S::f32 sums[kVectors], v[kVectors];
    for (auto& sum : sums) sum = S::set1(0.0f);
    rows.source.for_each_span(
        from, to, [&](std::int64_t first, std::int64_t at, std::int64_t count) __attribute__((always_inline)) {
          for (std::int64_t batch_first = 0; batch_first < count; batch_first += S::kLanes) {
            RangesOfRows<S> batch;
            const std::int64_t end = batch_first + S::kLanes < count ? batch_first + S::kLanes : count;
            for (std::int64_t r = batch_first; r < end; ++r) {
              load_rotated<S, kVectors>(q, at + r * q.strides[2], flips, v, rows.gain);
              store_vectors<S, kVectors>(v, rows.row(first + r));
              auto most = S::set1(0);
#pragma GCC unroll 64
              for (int i = 0; i < kVectors; ++i) {
                sums[i] = S::add(sums[i], v[i]);
                if (wants_ranges) most = S::max_s32(most, magnitude<S>(v[i]));
              }
              if (wants_ranges) batch.add(most);
            }
            if (wants_ranges && !batch.finish(ranges + (first - from + batch_first)))
              for (std::int64_t r = batch_first; r < end; ++r)
                ranges[first - from + r] = row_range<S>(rows.row(first + r), dim);
          }
        });
    if (rows.smooth) store_vectors<S, kVectors>(sums, rows.mean);
  });
  for (std::int64_t r = from; r < to && !loaded; ++r) {
    load_transformed<S>(q, rows.source.at(r), dim, flips, rows.row(r), 1.0f, rows.gain);
    if (wants_ranges) ranges[r - from] = row_range<S>(rows.row(r), dim);
  }
  if (!rows.smooth) return;
  alignas(64) float counts[kMaxPadded];
  if (plan.robust && sum_without_stray_rows<S>(rows, from, to, ranges, counts)) {
    // Done.
  } else if (loaded && sums_are_finite<S>(rows.mean, dim)) {
    for (std::int64_t d = 0; d < dim; ++d) counts[d] = static_cast<float>(to - from);
  } else {
    sum_rows<S>(to - from, dim, rows.mean, counts,
                [&](std::int64_t r) __attribute__((always_inline)) { return rows.row(from + r); });
  }
  for (std::int64_t d = 0; d < plan.k_width; ++d)
    rows.mean[d] = spec::mean_of(rows.mean[d], static_cast<std::int64_t>(counts[d]));
}

template <class S>
OCTAVO_INLINE void centre_queries(const QueryRows& rows, std::int64_t from, std::int64_t to, RowRange* ranges) {
  centre_rows<S>(rows.row(from), to - from, rows.plan->k_width, rows.plan->problem->head_dim,
                 rows.smooth ? rows.mean : nullptr, ranges);
}

// The range of query block i of a head, for one scale per tensor.
template <class S>
void range_queries(const Call& call, std::int64_t b, std::int64_t head, std::int64_t i, std::byte* thread) {
  const Plan& plan = *call.plan;
  const Sequence sequence = sequence_at(call, b)->rows;
  const std::int64_t first = i * kQueryBlock;
  const std::int64_t last = first + kQueryBlock < sequence.q_rows ? first + kQueryBlock : sequence.q_rows;
  const QueryRows rows{&plan,
                       RowSource(plan.problem->q, b, head, sequence.q_begin),
                       sequence,
                       b,
                       head,
                       first,
                       part<float>(thread, plan.thread.rows),
                       part<float>(thread, plan.thread.mean),
                       plan.smooth_q,
                       qk_gains(call, head_at(call, b, plan.problem->kv_head(head))).of_q};
  load_queries<S>(rows, first, last);
  RowRange range{0.0f, true}, ranges[kQueryBlock];
  centre_queries<S>(rows, first, last, ranges);
  for (std::int64_t r = 0; r < last - first; ++r) grow_range(range, ranges[r]);
  *query_range_at(call, b, head, i) = {range.amax, range.finite};
}

OCTAVO_INLINE RowRange range_of_head(const Call& call, std::int64_t b, std::int64_t head) {
  RowRange range{0.0f, true};
  for (std::int64_t i = 0; call.plan->q_range && i < sequence_at(call, b)->query_ranges; ++i) {
    const QueryRange& block = *query_range_at(call, b, head, i);
    grow_range(range, {block.amax, block.finite});
  }
  return range;
}

// The factor of a row's scores. softmax_scale is part of it, so that packed keys do not depend on it. It stays a
// number: times 0 it must be 0.
OCTAVO_INLINE float logit_factor(const Plan& plan, float scale) { return spec::bounded(scale * plan.logit_scale); }

// Where a query block lies in the thread's scratch.
struct PackedQueryBlock {
  std::int32_t *words, *words_low;
  QueryVectors* vectors;
};
OCTAVO_INLINE PackedQueryBlock packed_query_block(const Plan& plan, std::byte* thread, std::int64_t query_block) {
  const std::int64_t at = query_block * kQueryBlock * plan.q_ld;
  return {part<std::int32_t>(thread, plan.thread.queries) + at,
          part<std::int32_t>(thread, plan.thread.queries_low) + at,
          part<QueryVectors>(thread, plan.thread.row_vectors) + query_block};
}

// What the own means of K's blocks add to the scores of a row (spec/block_mean.hpp): q' . (mean of the block - mean).
// `row`: q', which becomes codes; `i`: the row in the task's scratch; `seen`: keys that some row of its block sees.
template <class S>
__attribute__((noinline)) void find_block_offsets(const Call& call, std::byte* thread, std::int64_t b,
                                                  std::int64_t kv_head, spec::KeyRange seen, const float* row,
                                                  std::int64_t i) {
  const Plan& plan = *call.plan;
  const float* mean = mean_of_keys(head_at(call, b, kv_head));
  for (std::int64_t block = seen.begin / spec::kMeanBlock; block * spec::kMeanBlock < seen.end; ++block) {
    const float* own = mean_of_key_block(call, b, kv_head, block);
    typename S::f32 sum[2] = {S::set1(0.0f), S::set1(0.0f)};
    for (std::int64_t d = 0, u = 0; d < plan.k_width; d += S::kLanes, u = 1 - u)
      sum[u] = S::fma(S::load(row + d), S::sub(S::load(own + d), S::load(mean + d)), sum[u]);
    block_offsets_at(plan, thread, block)[i] = spec::bounded(plan.logit_scale * S::reduce_add(S::add(sum[0], sum[1])));
  }
}

// Rows first..first+rows-1 from the caller's floats.
template <class S>
OCTAVO_INLINE void code_queries(const Call& call, std::byte* thread, std::int64_t query_block,
                                const PackedQueryBlock& packed, const QueryRows& rows, std::int64_t first,
                                std::int64_t count, bool q16) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const std::int64_t dim = problem.head_dim, width = plan.k_width;
  const std::int64_t kv_head = problem.kv_head(rows.head);
  const float* key_mean = mean_of_keys(head_at(call, rows.b, kv_head));
  const bool block_means = head_at(call, rows.b, kv_head)->block_means;
  const spec::KeyRange seen =
      spec::visible_keys_of_rows(problem.causal, problem.window_left, problem.window_right, rows.sequence.q_rows,
                                 rows.sequence.k_rows, first, first + count);
  const spec::Groups groups = spec::groups_of(Role::q, problem.recipe);
  RowScales scales(groups, q16 ? spec::kRangeQ16 : plan.qk_range, range_of_head(call, rows.b, rows.head));
  RowRange ranges[kQueryBlock];  // of the present stretch
  // A stretch of shared scales is never cut; rows with scales of their own go by as many as are ranged at once.
  const bool shared = scales.stretch() > 1;
  const std::int64_t stretch = shared ? scales.stretch() : S::kLanes, last = first + count;
  const std::int64_t block_last =
      rows.block_first + kQueryBlock < rows.sequence.q_rows ? rows.block_first + kQueryBlock : rows.sequence.q_rows;
  const std::int64_t begin = shared ? first / stretch * stretch : first;
  const std::int64_t after = shared ? (last + stretch - 1) / stretch * stretch : last;
  const std::int64_t end = after < block_last ? after : block_last;
  load_queries<S>(rows, rows.smooth ? rows.block_first : begin, rows.smooth ? block_last : end);

  for (std::int64_t r = first; r < last && plan.smooth_k_logit_offset; ++r)
    packed.vectors->smooth_k_logit_offset[r - first] = plan.softmax_scale * dot<S>(rows.row(r), key_mean, width);
  for (std::int64_t from = begin; from < last; from += stretch) {
    const std::int64_t stop = from + stretch < end ? from + stretch : end;
    scales.start_stretch(from);
    centre_queries<S>(rows, from, stop, ranges);
    for (std::int64_t r = from; r < stop && shared; ++r) scales.add(r, ranges[r - from]);
    for (std::int64_t r = from > first ? from : first; r < stop && r < last; ++r) {
      const std::int64_t i = r - first;
      const RowRange range = ranges[r - from];
      const RowScale scale = scales.of(r, range);
      std::int32_t* to = packed.words + i * plan.q_ld;
      float* x = rows.row(r);
      std::int32_t sum = 0, sum_low = 0;
      // A row that is not finite becomes NaN through its factor. Its words are zero, so that no NaN of the caller
      // enters the scores: the exponent arithmetic of exp2 could destroy its payload.
      if (!range.finite) std::memset(x, 0, static_cast<std::size_t>(width) * 4);
      if (block_means) find_block_offsets<S>(call, thread, rows.b, kv_head, seen, x, query_block * kQueryBlock + i);
      if (q16)
        quantize_row_16<S>(x, dim, scale.inverse, reinterpret_cast<std::int8_t*>(to),
                           reinterpret_cast<std::int8_t*>(packed.words_low + i * plan.q_ld), &sum, &sum_low);
      else
        sum = write_words<S>(plan, problem.recipe.scores, x, dim, scale.inverse, to);
      packed.vectors->factor[i] = range.finite ? logit_factor(plan, scale.scale) : __builtin_nanf("");
      packed.vectors->start[i] = -S::kKeyBias * sum;
      packed.vectors->start_low[i] = -S::kKeyBias * sum_low;
    }
  }
}

// The same from the caller's codes.
template <class S>
OCTAVO_INLINE void pack_query_codes(const Call& call, const PackedQueryBlock& packed, const QueryRows& rows,
                                    std::int64_t first, std::int64_t count) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& q = problem.q;
  const std::int64_t dim = problem.head_dim;
  const spec::ScalePlace& place = sequence_at(call, rows.b)->q_scale_place;
  const float *means = spec::means_at(q, place, rows.head), *scales = spec::scales_at(q, place, rows.head);
  const float* key_mean = mean_of_keys(head_at(call, rows.b, problem.kv_head(rows.head)));
  const spec::Groups groups = spec::groups_of(Role::q, problem.recipe);
  if (means != nullptr) {
    const float* given = means + rows.block_first / kQueryBlock * dim;
    for (std::int64_t d = 0; d < dim; ++d) rows.mean[d] = given[d];
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = rows.source.at(first + i);
    const float scale = caller_scale(scales, groups, first + i);
    bool finite = true;
    const std::int32_t sum = write_caller_words<S>(plan, q, at, dim, packed.words + i * plan.q_ld, finite);
    packed.vectors->factor[i] = finite ? logit_factor(plan, scale) : __builtin_nanf("");
    packed.vectors->start[i] = -S::kKeyBias * sum;
    if (!plan.smooth_k_logit_offset) continue;
    float* x = rows.row(first + i);  // the row before any mean was subtracted
    load_code_values<S>(q, at, dim, x);
    for (std::int64_t d = 0; d < plan.k_width; d += S::kLanes)
      S::store(x + d, S::fma(S::load(x + d), S::set1(scale), S::load(rows.mean + d)));
    packed.vectors->smooth_k_logit_offset[i] = plan.softmax_scale * dot<S>(x, key_mean, plan.k_width);
  }
}

// Packs rows first..first+count-1 as query block `query_block` of the thread's scratch; rows that complete a group are
// zeros.
template <class S>
__attribute__((noinline)) void pack_queries(const Call& call, std::byte* thread, std::int64_t query_block,
                                            std::int64_t b, std::int64_t head, std::int64_t first, std::int64_t count) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  const bool q16 = spec::takes_q16(problem, sequence.q_rows);
  const PackedQueryBlock packed = packed_query_block(plan, thread, query_block);
  const QueryRows rows{&plan,
                       RowSource(plan.problem->q, b, head, sequence.q_begin),
                       sequence,
                       b,
                       head,
                       first / kQueryBlock * kQueryBlock,
                       part<float>(thread, plan.thread.rows),
                       part<float>(thread, plan.thread.mean) + query_block * plan.k_width,
                       plan.smooth_q && !problem.q.quantized && !q16,
                       qk_gains(call, head_at(call, b, problem.kv_head(head))).of_q};
  for (std::int64_t d = 0; d < plan.k_width; ++d) rows.mean[d] = 0;
  for (std::int64_t i = 0; i < kQueryBlock; ++i) {
    packed.vectors->factor[i] = packed.vectors->smooth_k_logit_offset[i] = 0;
    packed.vectors->start[i] = packed.vectors->start_low[i] = 0;
  }
  const std::int64_t rest = (kGroupRows - count % kGroupRows) % kGroupRows * plan.q_ld * 4;
  std::memset(packed.words + count * plan.q_ld, 0, static_cast<std::size_t>(rest));
  if (q16) std::memset(packed.words_low + count * plan.q_ld, 0, static_cast<std::size_t>(rest));
  if (problem.q.quantized)
    pack_query_codes<S>(call, packed, rows, first, count);
  else
    code_queries<S>(call, thread, query_block, packed, rows, first, count, q16);
}

}  // namespace
}  // namespace octavo::cpu
