// Statistics of a whole head that its codes depend on: means and extremes of K's and V's channels. Blocks of 128 rows
// are read one by one, then joined. Subtracting a mean is monotone, rounding included, so the range of x - mean follows
// from a channel's extremes, to the bit.
#pragma once

#include "cpu/operands/load_transform.hpp"
#include "cpu/operands/row_scales.hpp"
#include "cpu/operands/seen_keys.hpp"
#include "spec/qk_gain.hpp"
#include "spec/stray_rows.hpp"
#include "spec/value_centre.hpp"

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
                                     const std::int32_t* signs, const ChannelStats& to, float* magnitudes) {
  const Operand& x = source.tensor();
  bool ranged = true;
  const bool summed = with_register_rows<S>(x, dim, [&](auto vectors) __attribute__((always_inline)) {
    constexpr int kVectors = decltype(vectors)::value;
    typename S::f32 sums[kVectors], v[kVectors];
    for (auto& sum : sums) sum = S::set1(0.0f);
    source.for_each_span(from, last,
                         [&](std::int64_t row, std::int64_t at, std::int64_t count) __attribute__((always_inline)) {
                           for (std::int64_t first = 0; first < count; first += S::kLanes) {
                             RangesOfRows<S> batch;
                             const std::int64_t end = first + S::kLanes < count ? first + S::kLanes : count;
                             for (std::int64_t r = first; r < end; ++r) {
                               load_rotated<S, kVectors>(x, at + r * x.strides[2], signs, v);
                               auto most = S::set1(0);
#pragma GCC unroll 64
                               for (int i = 0; i < kVectors; ++i) {
                                 sums[i] = S::add(sums[i], v[i]);
                                 if (magnitudes != nullptr) most = S::max_s32(most, magnitude<S>(v[i]));
                               }
                               if (magnitudes != nullptr) batch.add(most);
                             }
                             if (magnitudes == nullptr) continue;
                             RowRange ranges[S::kLanes];
                             ranged = batch.finish(ranges) && ranged;
                             for (std::int64_t r = first; ranged && r < end; ++r)
                               magnitudes[row - from + r] = ranges[r - first].amax;
                           }
                         });
    store_vectors<S, kVectors>(sums, to.sums);
  });
  if (!summed || !ranged || !sums_are_finite<S>(to.sums, dim)) return false;
  for (std::int64_t d = 0; d < dim; ++d) to.counts[d] = static_cast<float>(last - from);
  return true;
}

template <class S, DType kDtype>
OCTAVO_INLINE typename S::f32 load_in(const void* p, std::int64_t at) {
  return load_as_f32<S>(kDtype, p, at);
}

// kVectors vectors of channels from d on: their sums and extremes, and what they add to the rows' largest magnitudes
// [rows][kLanes].
template <class S, DType kDtype, int kVectors>
OCTAVO_INLINE void stats_of_columns(const Operand& x, std::int64_t at, std::int64_t rows, std::int64_t d,
                                    const ChannelStats& to, float* most) {
  typename S::f32 sums[kVectors], low[kVectors], high[kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i)
    sums[i] = S::set1(0.0f), low[i] = S::set1(__builtin_inff()), high[i] = S::set1(-__builtin_inff());
  for (std::int64_t r = 0; r < rows; ++r) {
    auto largest = S::load(most + r * S::kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const auto v = load_in<S, kDtype>(x.data, at + r * x.strides[2] + d + i * S::kLanes);
      sums[i] = S::add(sums[i], v);
      low[i] = S::min(v, low[i]);
      high[i] = S::max(v, high[i]);
      largest = S::max(S::abs(v), largest);
    }
    S::store(most + r * S::kLanes, largest);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    S::store(to.sums + d + i * S::kLanes, sums[i]);
    S::store(to.extremes.low + d + i * S::kLanes, low[i]);
    S::store(to.extremes.high + d + i * S::kLanes, high[i]);
  }
}

template <class S, DType kDtype>
OCTAVO_INLINE void stats_of_all_columns(const Operand& x, std::int64_t at, std::int64_t rows, std::int64_t dim,
                                        const ChannelStats& to, float* most) {
  std::int64_t d = 0;
  for (; d + 4 * S::kLanes <= dim; d += 4 * S::kLanes) stats_of_columns<S, kDtype, 4>(x, at, rows, d, to, most);
  for (; d < dim; d += S::kLanes) stats_of_columns<S, kDtype, 1>(x, at, rows, d, to, most);
}

// Sums and extremes of rows as they were given, at most 128, a few channels at a time so that their statistics stay in
// registers; and the rows' largest magnitudes. False: something is not finite, or rows are not whole vectors; take
// channel_stats_of_rows().
template <class S>
OCTAVO_INLINE bool stats_of_given_rows(const RowSource& source, std::int64_t first, std::int64_t last, std::int64_t dim,
                                       const ChannelStats& to, float* magnitudes) {
  const Operand& x = source.tensor();
  const std::int64_t rows = last - first;
  const RowSource::Span span = source.span(first);
  if (x.quantized || x.strides[3] != 1 || dim % S::kLanes != 0 || rows <= 0 || span.count < rows) return false;
  alignas(64) float most[spec::kMeanBlock * S::kLanes] = {};
  if (x.dtype == DType::f32)
    stats_of_all_columns<S, DType::f32>(x, span.at, rows, dim, to, most);
  else if (x.dtype == DType::f16)
    stats_of_all_columns<S, DType::f16>(x, span.at, rows, dim, to, most);
  else
    stats_of_all_columns<S, DType::bf16>(x, span.at, rows, dim, to, most);
  for (std::int64_t d = dim; d < padded(dim); ++d) to.sums[d] = 0;
  if (!sums_are_finite<S>(to.sums, dim)) return false;
  for (std::int64_t d = 0; d < padded(dim); d += S::kLanes) {
    S::store(to.counts + d, S::set1(static_cast<float>(rows)));
    S::store(to.extremes.nonfinite + d, S::set1(0.0f));
  }
  alignas(64) float of_rows[S::kLanes];
  for (std::int64_t r = 0; magnitudes != nullptr && r < rows; r += S::kLanes) {
    S::store(of_rows, S::row_max(most + r * S::kLanes));
    for (std::int64_t i = 0; i < S::kLanes && r + i < rows; ++i) magnitudes[r + i] = of_rows[i];
  }
  return true;
}

// Stretch i of the sequence's keys.
struct KeyBlockRows {
  std::int64_t first, last;
};
OCTAVO_INLINE KeyBlockRows rows_of_block(const Sequence& rows, std::int64_t i) {
  const std::int64_t first = i * spec::kMeanBlock, last = first + spec::kMeanBlock;
  return {first, last < rows.k_rows ? last : rows.k_rows};
}

// Statistics of K over the rows of block i that are seen and, with a `limit` (spec/stray_rows.hpp), not stray. Without
// a limit the rows' magnitudes are stored.
template <class S>
OCTAVO_INLINE void channel_stats_of_keys(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i,
                                         std::uint32_t limit) {
  const Plan& plan = *call.plan;
  const Operand& k = plan.problem->k;
  const std::int64_t dim = plan.problem->head_dim;
  const Sequence rows = sequence_at(call, b)->rows;
  const auto [first, last] = rows_of_block(rows, i);
  const ChannelStats to = channel_stats_of_k(call, b, kv_head, i);
  const SeenKeys seen = seen_keys(call, b, kv_head);
  const RowSource source(k, b, kv_head, rows.k_begin);
  float* magnitudes = key_magnitudes(call, b, kv_head, i);
  const bool first_pass = limit == spec::kAnyExponent;
  alignas(64) float row[kMaxPadded];
  alignas(64) std::int32_t of_rotation[kMaxPadded];
  const bool rotate = plan.rotate_qk && !plan.k_needs.as_given;
  if (rotate) rotation_signs(of_rotation, dim);
  const std::int32_t* signs = rotate ? of_rotation : nullptr;
  if (first_pass && !plan.k_needs.extremes && seen.all(first, last) &&
      sum_register_rows<S>(source, first, last, dim, signs, to, magnitudes))
    return;
  if (first_pass && plan.k_needs.as_given && seen.all(first, last) &&
      stats_of_given_rows<S>(source, first, last, dim, to, magnitudes))
    return;
  std::int64_t counted[spec::kMeanBlock], count = 0;
  for (std::int64_t r = first; r < last; ++r) {
    if (magnitudes != nullptr && first_pass) magnitudes[r - first] = 0;
    if (seen(r) && (magnitudes == nullptr || first_pass || !spec::is_stray(magnitudes[r - first], limit)))
      counted[count++] = r;
  }
  spec::ChannelNeeds needs = plan.k_needs;
  if (!first_pass) needs.extremes = plan.qk_gains;  // a scale of all rows is for stray ones, too
  channel_stats_of_rows<S>(needs, to, count, dim, [&](std::int64_t r) __attribute__((always_inline)) {
    load_transformed<S>(k, source.at(counted[r]), dim, signs, row);
    if (magnitudes != nullptr && first_pass) magnitudes[counted[r] - first] = row_range<S>(row, dim).amax;
    return static_cast<const float*>(row);
  });
}

// V's centre (spec/value_centre.hpp): sums of weighted rows as they were given, the weights' sum in counts[0].
template <class S>
OCTAVO_INLINE void sum_weighted_values(const RowSource& source, const std::int64_t* rows, std::int64_t count,
                                       std::int64_t dim, float unit, const ChannelStats& to) {
  alignas(64) float row[kMaxPadded];
  float weights = 0;
  for (std::int64_t d = 0; d < padded(dim); ++d) to.sums[d] = to.counts[d] = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    load_transformed<S>(source.tensor(), source.at(rows[i]), dim, nullptr, row, unit);
    const RowRange range = row_range<S>(row, dim);
    const float weight = spec::centre_weight(range.amax, range.finite);
    if (weight == 0) continue;
    weights += weight;
    for (std::int64_t d = 0; d < padded(dim); d += S::kLanes)
      S::store(to.sums + d, S::add(S::load(to.sums + d), S::mul(S::set1(weight), S::load(row + d))));
  }
  to.counts[0] = weights;
}

template <class S>
OCTAVO_INLINE void channel_stats_of_values(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const Plan& plan = *call.plan;
  const Operand& v = plan.problem->v;
  const std::int64_t dim = plan.problem->value_dim;
  const Sequence rows = sequence_at(call, b)->rows;
  const auto [first, last] = rows_of_block(rows, i);
  const ChannelStats to = channel_stats_of_v(call, b, kv_head, i);
  const SeenKeys seen = seen_keys(call, b, kv_head);
  const RowSource source(v, b, kv_head, rows.k_begin);
  const float unit = head_at(call, b, kv_head)->v_prescale;
  alignas(64) float row[kMaxPadded];
  alignas(64) std::int32_t of_rotation[kMaxPadded];
  if (plan.rotate_v) rotation_signs(of_rotation, dim);
  const std::int32_t* signs = plan.rotate_v ? of_rotation : nullptr;
  std::int64_t counted[spec::kMeanBlock], count = 0;
  for (std::int64_t r = first; r < last; ++r)
    if (seen(r)) counted[count++] = r;
  spec::ChannelNeeds needs = plan.v_needs;
  if (needs.centre) sum_weighted_values<S>(source, counted, count, dim, unit, to);
  if (!needs.sums && !needs.extremes) return;
  if (!needs.extremes && unit == 1 && count == last - first &&
      sum_register_rows<S>(source, first, last, dim, signs, to, nullptr))
    return;
  channel_stats_of_rows<S>(needs, to, count, dim, [&](std::int64_t r) __attribute__((always_inline)) {
    load_transformed<S>(v, source.at(counted[r]), dim, signs, row, unit);
    return static_cast<const float*>(row);
  });
}

// Rows i * 128 .. of one head of K and V.
template <class S>
void channel_stats(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  if (call.plan->k_needs.any()) channel_stats_of_keys<S>(call, b, kv_head, i, spec::kAnyExponent);
  if (call.plan->v_needs.any()) channel_stats_of_values<S>(call, b, kv_head, i);
}

// How far the channels of query block i lie from their means, over its rows that are not stray.
template <class S>
void query_spread(const Call& call, std::int64_t b, std::int64_t head, std::int64_t i) {
  const Plan& plan = *call.plan;
  const Operand& q = plan.problem->q;
  const std::int64_t dim = plan.problem->head_dim, first = i * kQueryBlock;
  const Sequence rows = sequence_at(call, b)->rows;
  const RowSource source(q, b, head, rows.q_begin);
  const std::int64_t last = first + kQueryBlock < rows.q_rows ? first + kQueryBlock : rows.q_rows;
  alignas(64) float row[kMaxPadded], sums[kMaxPadded], counts[kMaxPadded], low[kMaxPadded], high[kMaxPadded],
      nonfinite[kMaxPadded];
  const ChannelStats stats{sums, counts, {low, high, nonfinite}};
  float magnitudes[kQueryBlock];
  spec::ExponentHistogram histogram;
  std::int64_t counted[kQueryBlock], count = 0;
  const spec::ChannelNeeds needs{.sums = true, .extremes = true};
  const auto load = [&](std::int64_t r) __attribute__((always_inline)) {
    load_row<S>(q, source.at(counted[r]), dim, row);
    magnitudes[counted[r] - first] = row_range<S>(row, dim).amax;
    return static_cast<const float*>(row);
  };
  for (std::int64_t r = first; r < last; ++r) counted[count++] = r;
  if (!stats_of_given_rows<S>(source, first, last, dim, stats, magnitudes))
    channel_stats_of_rows<S>(needs, stats, count, dim, load);
  for (std::int64_t r = 0; r < last - first; ++r) spec::add_row(histogram, magnitudes[r]);
  const std::uint32_t limit = plan.robust ? spec::exponent_limit(histogram) : spec::kAnyExponent;
  count = 0;
  for (std::int64_t r = first; r < last; ++r)
    if (!spec::is_stray(magnitudes[r - first], limit)) counted[count++] = r;
  if (count < last - first) channel_stats_of_rows<S>(needs, stats, count, dim, load);
  float* spread = query_spread_at(call, b, head, i);
  for (std::int64_t d = 0; d < dim; ++d) {
    const float mean = spec::mean_of(sums[d], static_cast<std::int64_t>(counts[d]));
    spread[d] = low[d] > high[d] ? -1.0f : spec::spread(low[d], high[d], mean);
  }
}

// Joins the statistics of a block of rows into those of another.
template <class S>
OCTAVO_INLINE void join_channel_stats(const spec::ChannelNeeds& needs, const ChannelStats& to, const ChannelStats& from,
                                      std::int64_t width) {
  for (std::int64_t d = 0; (needs.sums || needs.centre) && d < width; d += S::kLanes) {
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
OCTAVO_INLINE void find_gains(const ChannelExtremes& c, std::int64_t dim, const float* mean, float* gain) {
  double log_sum = 0;
  std::int64_t count = 0;
  for (std::int64_t d = 0; d < dim; ++d) {
    const float amax = column_range(c, d, mean[d]).amax;
    if (amax > 0) log_sum += __builtin_log(static_cast<double>(amax)), ++count;
  }
  const double typical = count > 0 ? __builtin_exp(log_sum / static_cast<double>(count)) : 1.0;
  for (std::int64_t d = 0; d < dim; ++d) {
    const float amax = column_range(c, d, mean[d]).amax;
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
  if (!plan.k_needs.extremes || plan.qk_gains) return;
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
  if (plan.v_needs.centre) {
    for (std::int64_t d = 0; d < dim; ++d) vectors.mean[d] = spec::centre_of(c->sums[d], c->counts[0]);
    if (plan.rotate_v) spec::rotate_row(vectors.mean, dim);
  }
  if (!plan.v_needs.extremes) return;
  if (plan.channel_gains) {
    find_gains(c->extremes, dim, vectors.mean, vectors.gain);
    for (std::int64_t d = 0; d < dim; ++d) {
      vectors.epilogue_scale[d] = vectors.gain[d];
      vectors.mean[d] /= vectors.gain[d];
    }
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

// Recomputes the statistics of blocks that hold stray rows of K without them.
template <class S>
OCTAVO_INLINE void leave_out_stray_keys(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  if (sequence.partials == 0 || key_magnitudes(call, b, kv_head, 0) == nullptr) return;
  spec::ExponentHistogram histogram;
  const auto rows_of = [&](std::int64_t i) {
    const auto [first, last] = rows_of_block(sequence.rows, i);
    return last - first;
  };
  for (std::int64_t i = 0; i < sequence.partials; ++i)
    for (std::int64_t r = 0; r < rows_of(i); ++r) spec::add_row(histogram, key_magnitudes(call, b, kv_head, i)[r]);
  const std::uint32_t limit = spec::exponent_limit(histogram);
  for (std::int64_t i = 0; i < sequence.partials; ++i) {
    bool any = false;
    for (std::int64_t r = 0; r < rows_of(i); ++r)
      any = any || spec::is_stray(key_magnitudes(call, b, kv_head, i)[r], limit);
    if (any) channel_stats_of_keys<S>(call, b, kv_head, i, limit);
  }
}

// Mean over blocks of spreads that are there.
struct MeanSpread {
  float sum = 0;
  std::int64_t blocks = 0;
};
OCTAVO_INLINE float mean_of_spreads(const MeanSpread& spread) {
  return spread.blocks > 0 ? spread.sum / static_cast<float>(spread.blocks) : 0.0f;
}

// The gains of a head, from all blocks of rows and the mean of K as given; the mean is then scaled and rotated as K is.
OCTAVO_INLINE void find_qk_gains(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const SequenceInfo& sequence = *sequence_at(call, b);
  HeadInfo* head = head_at(call, b, kv_head);
  float* mean = mean_of_keys(head);
  const QkGains gains = qk_gains(call, head);
  const std::int64_t dim = problem.head_dim, group = problem.q_heads / problem.kv_heads;
  for (std::int64_t d = 0; d < padded(dim); ++d) gains.of_k[d] = gains.of_q[d] = 1;
  if (sequence.rows.q_rows >= spec::kGainQueryRows && sequence.partials > 0) {
    for (std::int64_t d = 0; d < dim; ++d) {
      MeanSpread of_k;
      for (std::int64_t i = 0; i < sequence.partials; ++i) {
        const ChannelExtremes& c = channel_stats_of_k(call, b, kv_head, i).extremes;
        if (c.low[d] > c.high[d]) continue;
        of_k.sum += spec::spread(c.low[d], c.high[d], mean[d]);
        ++of_k.blocks;
      }
      float u = 0;
      for (std::int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
        MeanSpread of_q;
        for (std::int64_t i = 0; i < sequence.query_ranges; ++i) {
          const float spread = query_spread_at(call, b, h, i)[d];
          if (spread < 0) continue;
          of_q.sum += spread;
          ++of_q.blocks;
        }
        const float of_head = mean_of_spreads(of_q);
        if (of_head > u) u = of_head;
      }
      gains.of_k[d] = spec::gain_of(u, mean_of_spreads(of_k));
      gains.of_q[d] = 1.0f / gains.of_k[d];
    }
  }
  for (std::int64_t d = 0; d < dim; ++d) mean[d] = plan.smooth_k ? mean[d] * gains.of_k[d] : 0.0f;
  if (plan.rotate_qk) spec::rotate_row(mean, dim);
}

// The head's means and scales from the statistics of its blocks of rows.
template <class S>
void finish_channel_stats(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Plan& plan = *call.plan;
  const std::int64_t stretches = sequence_at(call, b)->partials;
  const bool any = stretches > 0;
  if (plan.k_needs.any()) leave_out_stray_keys<S>(call, b, kv_head);
  // Gains need the extremes of every block: only the sums are joined.
  spec::ChannelNeeds k_joins = plan.k_needs;
  if (plan.qk_gains) k_joins.extremes = false;
  const ChannelStats k = channel_stats_of_k(call, b, kv_head, 0), v = channel_stats_of_v(call, b, kv_head, 0);
  for (std::int64_t i = 1; i < stretches; ++i) {
    join_channel_stats<S>(k_joins, k, channel_stats_of_k(call, b, kv_head, i), padded(plan.problem->head_dim));
    join_channel_stats<S>(plan.v_needs, v, channel_stats_of_v(call, b, kv_head, i), padded(plan.problem->value_dim));
  }
  finish_keys(call, b, kv_head, any ? &k : nullptr);
  if (plan.qk_gains) find_qk_gains(call, b, kv_head);
  finish_values(call, b, kv_head, any ? &v : nullptr);
}

}  // namespace
}  // namespace octavo::cpu
