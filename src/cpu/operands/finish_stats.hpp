// The means, ranges and gains of a whole head from the statistics of its blocks of rows.
#pragma once

#include "cpu/operands/channel_stats.hpp"
#include "cpu/operands/qk_gains.hpp"

namespace octavo::cpu {
namespace {

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
  if (plan.block_means) {
    for (std::int64_t i = 0; i < stretches; ++i) note_block_mean(call, b, kv_head, i);
  }
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
