// Statistics of a whole head that its codes depend on: means and extremes of K's and V's channels. Blocks of 128 rows
// are read one by one, then joined. Subtracting a mean is monotone, rounding included, so the range of x - mean follows
// from a channel's extremes, to the bit.
#pragma once

#include "cpu/operands/load_transform.hpp"
#include "cpu/operands/row_scales.hpp"

namespace octavo::cpu {
namespace {

template <class S>
OCTAVO_INLINE void clear_extremes(const ChannelExtremes& c, std::int64_t width) {
  for (std::int64_t d = 0; d < width; d += S::kLanes) {
    S::store(c.low + d, S::set1(__builtin_inff()));
    S::store(c.high + d, S::set1(-__builtin_inff()));
    S::store(c.nonfinite + d, S::set1(0.0f));
  }
}

// Adds a transformed row; `nonfinite` becomes NaN where a value is not finite.
template <class S>
OCTAVO_INLINE void widen_extremes(const ChannelExtremes& c, const float* row, std::int64_t dim) {
  for (std::int64_t d = 0; d < dim; d += S::kLanes) {
    const auto x = S::load(row + d), low = S::load(c.low + d), high = S::load(c.high + d);
    const auto finite = S::is_finite(x);
    S::store(c.low + d, S::min(S::select(finite, x, low), low));
    S::store(c.high + d, S::max(S::select(finite, x, high), high));
    S::store(c.nonfinite + d, S::fma(x, S::set1(0.0f), S::load(c.nonfinite + d)));
  }
}

// Range of a channel after `mean` is subtracted; 0 where no value is finite.
OCTAVO_INLINE RowRange column_range(const ChannelExtremes& c, std::int64_t d, float mean) {
  RowRange range{0.0f, c.nonfinite[d] == 0};
  if (c.low[d] > c.high[d]) return range;
  const float below = __builtin_fabsf(c.low[d] - mean), above = __builtin_fabsf(c.high[d] - mean);
  range.amax = below > above ? below : above;
  return range;
}

// One operand's channels over the rows that row(r) hands out (dense, padded).
template <class S, class Row>
OCTAVO_INLINE void channel_stats_of_rows(const spec::ChannelNeeds& needs, const ChannelStats& to, std::int64_t rows,
                                         std::int64_t dim, const Row& row) {
  if (needs.extremes) clear_extremes<S>(to.extremes, padded(dim));
  const auto seen = [&](std::int64_t r) __attribute__((always_inline)) {
    const float* x = row(r);
    if (needs.extremes) widen_extremes<S>(to.extremes, x, dim);
    return x;
  };
  if (needs.sums)
    sum_rows<S>(rows, dim, to.sums, to.counts, seen);
  else
    for (std::int64_t r = 0; r < rows; ++r) seen(r);
}

// The sums alone, of rows that fit registers. False: take channel_stats_of_rows().
template <class S>
OCTAVO_INLINE bool sum_register_rows(const RowSource& source, std::int64_t from, std::int64_t last, std::int64_t dim,
                                     const std::int32_t* signs, const ChannelStats& to) {
  const Operand& x = source.tensor();
  const bool summed = with_register_rows<S>(x, dim, [&](auto vectors) __attribute__((always_inline)) {
    constexpr int kVectors = decltype(vectors)::value;
    typename S::f32 sums[kVectors], v[kVectors];
    for (auto& sum : sums) sum = S::set1(0.0f);
    source.for_each_span(from, last,
                         [&](std::int64_t, std::int64_t at, std::int64_t count) __attribute__((always_inline)) {
                           for (std::int64_t r = 0; r < count; ++r) {
                             load_rotated<S, kVectors>(x, at + r * x.strides[2], signs, v);
#pragma GCC unroll 64
                             for (int i = 0; i < kVectors; ++i) sums[i] = S::add(sums[i], v[i]);
                           }
                         });
    store_vectors<S, kVectors>(sums, to.sums);
  });
  if (!summed || !sums_are_finite<S>(to.sums, dim)) return false;
  for (std::int64_t d = 0; d < dim; ++d) to.counts[d] = static_cast<float>(last - from);
  return true;
}

// Rows i * 128 .. of one head of K and V.
template <class S>
void channel_stats(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence rows = sequence_at(call, b)->rows;
  const std::int64_t first = i * spec::kMeanBlock;
  const std::int64_t last = first + spec::kMeanBlock < rows.k_rows ? first + spec::kMeanBlock : rows.k_rows;
  alignas(64) float row[kMaxPadded];
  alignas(64) std::int32_t signs[kMaxPadded];
  const auto gather = [&](const Operand& x, std::int64_t dim, bool rotate, float unit, const spec::ChannelNeeds& needs,
                          const ChannelStats& to) __attribute__((always_inline)) {
    if (rotate) rotation_signs(signs, dim);
    const RowSource source(x, b, kv_head, rows.k_begin);
    if (!needs.extremes && unit == 1 && sum_register_rows<S>(source, first, last, dim, rotate ? signs : nullptr, to))
      return;
    channel_stats_of_rows<S>(needs, to, last - first, dim, [&](std::int64_t r) __attribute__((always_inline)) {
      load_transformed<S>(x, source.at(first + r), dim, rotate ? signs : nullptr, row, unit);
      return static_cast<const float*>(row);
    });
  };
  if (plan.k_needs.any())
    gather(problem.k, problem.head_dim, plan.rotate_qk, 1.0f, plan.k_needs, channel_stats_of_k(call, b, kv_head, i));
  if (plan.v_needs.any())
    gather(problem.v, problem.value_dim, plan.rotate_v, head_at(call, b, kv_head)->v_prescale, plan.v_needs,
           channel_stats_of_v(call, b, kv_head, i));
}

// Joins the statistics of a block of rows into those of another.
template <class S>
OCTAVO_INLINE void join_channel_stats(const spec::ChannelNeeds& needs, const ChannelStats& to, const ChannelStats& from,
                                      std::int64_t width) {
  for (std::int64_t d = 0; needs.sums && d < width; d += S::kLanes) {
    S::store(to.sums + d, S::add(S::load(to.sums + d), S::load(from.sums + d)));
    S::store(to.counts + d, S::add(S::load(to.counts + d), S::load(from.counts + d)));
  }
  for (std::int64_t d = 0; needs.extremes && d < width; d += S::kLanes) {
    S::store(to.extremes.low + d, S::min(S::load(to.extremes.low + d), S::load(from.extremes.low + d)));
    S::store(to.extremes.high + d, S::max(S::load(to.extremes.high + d), S::load(from.extremes.high + d)));
    S::store(to.extremes.nonfinite + d,
             S::add(S::load(to.extremes.nonfinite + d), S::load(from.extremes.nonfinite + d)));
  }
}

OCTAVO_INLINE void means_of(const ChannelStats& c, std::int64_t dim, float* mean) {
  for (std::int64_t d = 0; d < dim; ++d) mean[d] = spec::mean_of(c.sums[d], static_cast<std::int64_t>(c.counts[d]));
}

OCTAVO_INLINE RowRange range_of_columns(const ChannelExtremes& c, std::int64_t dim, const float* mean) {
  RowRange range{0.0f, true};
  for (std::int64_t d = 0; d < dim; ++d) grow_range(range, column_range(c, d, mean[d]));
  return range;
}

// c_d = the channel's largest magnitude over the geometric mean of all channels'; channels without values keep 1.
OCTAVO_INLINE void find_gains(const ChannelExtremes& c, std::int64_t dim, float* gain) {
  double log_sum = 0;
  std::int64_t count = 0;
  for (std::int64_t d = 0; d < dim; ++d) {
    const float amax = column_range(c, d, 0.0f).amax;
    if (amax > 0) log_sum += __builtin_log(static_cast<double>(amax)), ++count;
  }
  const double typical = count > 0 ? __builtin_exp(log_sum / static_cast<double>(count)) : 1.0;
  for (std::int64_t d = 0; d < dim; ++d) {
    const float amax = column_range(c, d, 0.0f).amax;
    gain[d] = amax > 0 ? static_cast<float>(amax / typical) : 1.0f;
  }
}

OCTAVO_INLINE void finish_keys(const Call& call, std::int64_t b, std::int64_t kv_head, const ChannelStats* c) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  HeadInfo* head = head_at(call, b, kv_head);
  const std::int64_t dim = problem.head_dim;
  float* mean = mean_of_keys(head);
  for (std::int64_t d = 0; d < padded(dim); ++d) mean[d] = 0;
  if (problem.k.quantized && problem.k.mean != nullptr) {
    const float* given = spec::means_at(problem.k, sequence_at(call, b)->k_scale_place, kv_head);
    for (std::int64_t d = 0; d < dim; ++d) mean[d] = given[d];
  }
  if (c == nullptr) return;
  if (plan.k_needs.sums) means_of(*c, dim, mean);
  if (!plan.k_needs.extremes) return;
  const RowRange range = range_of_columns(c->extremes, dim, mean);
  head->k_amax = range.amax;
  head->k_finite = range.finite;
}

// The vectors that V's codes are made with, and those that the epilogue applies to O.
OCTAVO_INLINE void finish_values(const Call& call, std::int64_t b, std::int64_t kv_head, const ChannelStats* c) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& v = problem.v;
  const Granularity granularity = problem.recipe.v_scale;
  HeadInfo* head = head_at(call, b, kv_head);
  const ValueVectors vectors = value_vectors(call, head);
  const std::int64_t dim = problem.value_dim;
  for (std::int64_t d = 0; d < padded(dim); ++d) {
    vectors.mean[d] = 0;
    vectors.gain[d] = vectors.inverse[d] = vectors.epilogue_scale[d] = 1;
  }
  if (v.quantized) {
    const spec::ScalePlace& place = sequence_at(call, b)->v_scale_place;
    const float *mean = spec::means_at(v, place, kv_head), *scales = spec::scales_at(v, place, kv_head);
    const float unit = head->v_prescale;
    for (std::int64_t d = 0; mean != nullptr && d < dim; ++d) vectors.mean[d] = mean[d] * unit;
    if (granularity == Granularity::tensor) head->out_scale = scales[0] * unit;
    for (std::int64_t d = 0; granularity == Granularity::channel && d < dim; ++d)
      vectors.epilogue_scale[d] = scales[d] * unit;
    return;
  }
  if (c == nullptr) return;
  if (plan.v_needs.sums) means_of(*c, dim, vectors.mean);
  if (!plan.v_needs.extremes) return;
  if (plan.channel_gains) {
    find_gains(c->extremes, dim, vectors.gain);
    for (std::int64_t d = 0; d < dim; ++d) vectors.epilogue_scale[d] = vectors.gain[d];
  } else if (granularity == Granularity::channel) {
    for (std::int64_t d = 0; d < dim; ++d) {
      const RowScale scale = row_scale_of(column_range(c->extremes, d, vectors.mean[d]), plan.v_range);
      vectors.inverse[d] = scale.inverse;
      vectors.epilogue_scale[d] = scale.scale;
    }
  } else {
    const RowRange range = range_of_columns(c->extremes, dim, vectors.mean);
    RowScale scale = row_scale_of(range, plan.v_range);
    if (problem.recipe.values == Format::f16) {
      const float divisor = spec::f16_value_divisor(range.amax);
      scale = {divisor, 1.0f / divisor};
    }
    head->out_scale = scale.scale;
    for (std::int64_t d = 0; d < dim; ++d) vectors.inverse[d] = scale.inverse;
  }
}

// The head's means and scales from the statistics of its blocks of rows.
template <class S>
void finish_channel_stats(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Plan& plan = *call.plan;
  const std::int64_t stretches = sequence_at(call, b)->partials;
  const bool any = stretches > 0;
  const ChannelStats k = channel_stats_of_k(call, b, kv_head, 0), v = channel_stats_of_v(call, b, kv_head, 0);
  for (std::int64_t i = 1; i < stretches; ++i) {
    join_channel_stats<S>(plan.k_needs, k, channel_stats_of_k(call, b, kv_head, i), padded(plan.problem->head_dim));
    join_channel_stats<S>(plan.v_needs, v, channel_stats_of_v(call, b, kv_head, i), padded(plan.problem->value_dim));
  }
  finish_keys(call, b, kv_head, any ? &k : nullptr);
  finish_values(call, b, kv_head, any ? &v : nullptr);
}

}  // namespace
}  // namespace octavo::cpu
