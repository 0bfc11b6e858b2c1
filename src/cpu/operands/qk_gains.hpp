// Gains of the channels of Q and K, and K's means per block of keys, from the statistics of all blocks of a head.
#pragma once

#include "cpu/operands/channel_extremes.hpp"
#include "spec/block_mean.hpp"
#include "spec/qk_gain.hpp"
#include "spec/stray_rows.hpp"

namespace octavo::cpu {
namespace {

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

// Mean over blocks of spreads that are there.
struct MeanSpread {
  float sum = 0;
  std::int64_t blocks = 0;
};
OCTAVO_INLINE float mean_of_spreads(const MeanSpread& spread) {
  return spread.blocks > 0 ? spread.sum / static_cast<float>(spread.blocks) : 0.0f;
}

// The mean of block i, before the blocks' sums are joined.
OCTAVO_INLINE void note_block_mean(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const ChannelStats c = channel_stats_of_k(call, b, kv_head, i);
  const BlockMean to = block_mean_of_keys(call, b, kv_head, i);
  for (std::int64_t d = 0; d < call.plan->k_width; ++d) {
    to.mean[d] = spec::mean_of(c.sums[d], static_cast<std::int64_t>(c.counts[d]));
    to.count[d] = c.counts[d];
  }
}

// Whether the head takes the means of its blocks, which then go where K goes. `mean`: of the sequence, as K was given.
OCTAVO_INLINE bool take_block_means(const Call& call, std::int64_t b, std::int64_t kv_head, const float* mean,
                                    const float* gain) {
  const Plan& plan = *call.plan;
  const std::int64_t dim = plan.problem->head_dim, blocks = sequence_at(call, b)->partials;
  spec::BlockMeanEvidence evidence;
  for (std::int64_t d = 0; d < dim; ++d) {
    spec::ChannelSpreads spreads;
    for (std::int64_t i = 0; i < blocks; ++i) {
      const ChannelExtremes& c = channel_stats_of_k(call, b, kv_head, i).extremes;
      const BlockMean block = block_mean_of_keys(call, b, kv_head, i);
      spec::add_spreads(spreads, block.count[d], c.low[d], c.high[d], mean[d], block.mean[d]);
    }
    spec::add_channel(evidence, spreads, gain[d]);
  }
  if (!spec::takes_block_means(evidence)) return false;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const ChannelExtremes& c = channel_stats_of_k(call, b, kv_head, i).extremes;
    float* own = block_mean_of_keys(call, b, kv_head, i).mean;
    for (std::int64_t d = 0; d < plan.k_width; ++d)
      own[d] = d < dim ? (c.low[d] > c.high[d] ? mean[d] : own[d]) * gain[d] : 0.0f;
    if (plan.rotate_qk) spec::rotate_row(own, dim);
  }
  return true;
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
  head->block_means = plan.block_means && take_block_means(call, b, kv_head, mean, gains.of_k);
  for (std::int64_t d = 0; d < dim; ++d) mean[d] = plan.smooth_k ? mean[d] * gains.of_k[d] : 0.0f;
  if (plan.rotate_qk) spec::rotate_row(mean, dim);
}
}  // namespace
}  // namespace octavo::cpu
