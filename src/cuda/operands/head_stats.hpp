// What the rows of a head have in common, from the statistics of their blocks: means, V's weighted centre, the gains of
// Q and K with K's block means. One thread block a head, a thread a channel. Sums run over blocks in ascending order
// (spec/mean.hpp); their loads do not wait for each other.
#pragma once

#include "cuda/operands/channel_stats.hpp"
#include "cuda/operands/load_transform.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/block_mean.hpp"
#include "spec/mean.hpp"
#include "spec/qk_gain.hpp"
#include "spec/value_centre.hpp"

namespace octavo::cuda {

// Vectors in shared memory, [kMostChannels] each.
enum class HeadVector : std::uint32_t { mean, gain, spread_from_mean, spread_from_block_mean };
OCTAVO_INLINE constexpr std::uint32_t head_number_at(HeadVector vector, std::int64_t channel) {
  return static_cast<std::uint32_t>(vector) * kHeadVectorBytes + 4 * static_cast<std::uint32_t>(channel);
}
template <class Machine>
OCTAVO_DEVICE float head_number(Machine& machine, HeadVector vector, std::int64_t channel) {
  return machine.template shared<float>(head_number_at(vector, channel));
}
template <int per_lane, class Machine>
OCTAVO_DEVICE void store_head_vector(Machine& machine, Registers<Machine, float, per_lane>& x, float* to,
                                     std::int64_t dim) {
  machine.lanes(
      [&](int lane, float(&v)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c < dim) to[c] = v[i];
        }
      },
      x);
}

// The mean over blocks of the spreads that are there.
struct MeanSpread {
  float sum = 0;
  std::int64_t blocks = 0;
};
OCTAVO_INLINE void add_spread(MeanSpread& mean, float spread) {
  mean.sum = mean.sum + spread;
  ++mean.blocks;
}
OCTAVO_INLINE float mean_of_spreads(const MeanSpread& mean) {
  return mean.blocks > 0 ? mean.sum / static_cast<float>(mean.blocks) : 0.0f;
}

// The blocks of a head, in arrays that are laid out in blocks.
struct HeadBlocks {
  std::int64_t first = 0, count = 0;
};

// f(a, b) for all blocks in ascending order, of a channel's pairs of numbers, f32 [blocks][2][dim]. A load from the L2
// cache takes as long as some hundred additions: kBlocksAtOnce blocks are loaded at a time.
constexpr int kBlocksAtOnce = 8;
template <class F>
OCTAVO_DEVICE void for_each_pair(const float* pairs, const HeadBlocks& blocks, std::int64_t dim, std::int64_t c,
                                 const F& f) {
  OCTAVO_ROLLED
  for (std::int64_t done = 0; done < blocks.count; done += kBlocksAtOnce) {
    const float* const at = pairs + 2 * (blocks.first + done) * dim + c;
    float first[kBlocksAtOnce], second[kBlocksAtOnce];
    OCTAVO_UNROLL
    for (int i = 0; i < kBlocksAtOnce; ++i) {
      const bool exists = done + i < blocks.count;
      first[i] = exists ? at[2 * i * dim] : 0.0f;
      second[i] = exists ? at[(2 * i + 1) * dim] : 0.0f;
    }
    OCTAVO_UNROLL
    for (int i = 0; i < kBlocksAtOnce; ++i) {
      if (done + i < blocks.count) f(first[i], second[i]);
    }
  }
}

// Channel c's gain (spec/qk_gain.hpp), and how far its values spread around its mean and around those of its blocks.
OCTAVO_DEVICE float find_gain(const MeanParams& k, const GainParams& p, std::int64_t head, std::int64_t b,
                              const HeadBlocks& blocks, std::int64_t c, float mean) {
  const SequenceRows q = sequence_rows(p.queries, b);
  if (q.rows < spec::kGainQueryRows || blocks.count == 0) return 1;
  MeanSpread of_k;
  for_each_pair(p.extremes, blocks, k.dim, c, [&](float low, float high) {
    if (low <= high) add_spread(of_k, spec::spread(low, high, mean));
  });
  float u = 0;
  for (std::int64_t h = head * p.heads_per_kv_head; h < (head + 1) * p.heads_per_kv_head; ++h) {
    MeanSpread of_q;
    const std::int64_t first = first_block_of(p.queries, b, h, q.begin);
    for (std::int64_t block = first; block < first + packed_blocks(q.rows); ++block) {
      const float spread = p.spread[block * k.dim + c];
      if (spread >= 0) add_spread(of_q, spread);
    }
    const float of_head = mean_of_spreads(of_q);
    u = of_head > u ? of_head : u;
  }
  return spec::gain_of(u, mean_of_spreads(of_k));
}
OCTAVO_DEVICE spec::ChannelSpreads find_spreads(const MeanParams& k, const GainParams& p, const HeadBlocks& blocks,
                                                std::int64_t c, float mean) {
  spec::ChannelSpreads spreads;
  for (std::int64_t block = blocks.first; block < blocks.first + blocks.count; ++block) {
    const float low = p.extremes[2 * block * k.dim + c], high = p.extremes[(2 * block + 1) * k.dim + c];
    const float sum = k.sums[2 * block * k.dim + c], count = k.sums[(2 * block + 1) * k.dim + c];
    const float own = spec::mean_of(0.0f + sum, static_cast<std::int64_t>(count));
    spec::add_spreads(spreads, count, low, high, mean, own);
  }
  return spreads;
}

// Whether a head takes the means of its blocks of keys.
template <class Machine>
OCTAVO_DEVICE bool take_block_means(Machine& machine, std::int64_t dim) {
  spec::BlockMeanEvidence evidence;
  machine.lanes([&](int) {
    spec::BlockMeanEvidence sum;
    for (std::int64_t c = 0; c < dim; ++c) {
      const spec::ChannelSpreads spreads{head_number(machine, HeadVector::spread_from_mean, c),
                                         head_number(machine, HeadVector::spread_from_block_mean, c)};
      spec::add_channel(sum, spreads, head_number(machine, HeadVector::gain, c));
    }
    evidence = sum;
  });
  return spec::takes_block_means(evidence);
}

// The means of a head's blocks, after the gains and the rotation, and how far they lie from its own.
template <int per_lane, class Machine>
OCTAVO_DEVICE void store_block_means(Machine& machine, const MeanParams& k, const GainParams& p, std::int64_t first,
                                     std::int64_t blocks) {
  for (std::int64_t block = first + machine.warp(); block < first + blocks; block += kCodeWarps) {
    Registers<Machine, float, per_lane> own;
    machine.lanes(
        [&](int lane, float(&m)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            const int c = channel_of(lane, i);
            m[i] = 0;
            if (c >= k.dim) continue;
            const float mean = head_number(machine, HeadVector::mean, c);
            const float sum = k.sums[2 * block * k.dim + c], count = k.sums[(2 * block + 1) * k.dim + c];
            const float value = count > 0 ? spec::mean_of(0.0f + sum, static_cast<std::int64_t>(count)) : mean;
            p.block_means.shift[block * k.dim + c] = value - mean;
            m[i] = value * head_number(machine, HeadVector::gain, c);
          }
        },
        own);
    if (p.rotate) rotate_rows<per_lane, 1>(machine, own, k.dim);
    store_head_vector<per_lane>(machine, own, p.block_means.mean + block * k.dim, k.dim);
  }
}

// A head's blocks once more, in place of a launch of row_stats().
template <int per_lane, class Machine>
OCTAVO_DEVICE void repeat_blocks(Machine& machine, const StatsParams& p, std::int64_t b, std::int64_t head,
                                 const SequenceRows& rows) {
  const std::uint32_t limit = limit_of_head(machine, p, b, head);
  const std::int64_t first = p.steps.sequences.varlen() ? first_varlen_block(rows.begin, b) : 0;
  OCTAVO_ROLLED
  for (std::int64_t i = 0; i < packed_blocks(rows.rows); ++i) {
    // Not live where cu_seqlens is not ascending.
    const BlockOfRows at = block_of_rows(p.steps.sequences, first + i, head, b);
    if (at.live) stats_of_block<per_lane>(machine, p, at, limit);
  }
  machine.sync("statistics of all blocks");
}

// Block (x, y, z) of threads: head x of sequence y, K's mean for z = 0, else V's.
template <int per_lane, class Machine>
OCTAVO_DEVICE void head_stats(Machine& machine, const HeadStatsParams& p) {
  begin_kernel(machine);
  const bool of_v = machine.block(2) != 0 || p.k.mean == nullptr;
  const MeanParams& of = of_v ? p.v : p.k;
  const bool gains = !of_v && p.gains.of_k != nullptr, block_means = gains && p.gains.block_means.taken != nullptr;
  const std::int64_t head = machine.block(0), b = machine.block(1), dim = of.dim;
  const SequenceRows rows = sequence_rows(of.sequences, b);
  const HeadBlocks blocks{first_block_of(of.sequences, b, head, rows.begin), packed_blocks(rows.rows)};
  const std::int64_t vector = (b * of.sequences.heads + head) * dim;
  const int warp = machine.warp();
  if (!of_v && p.repeats_k) repeat_blocks<per_lane>(machine, p.k_again, b, head, rows);
  if (of_v && p.repeats_v && v_prescale(p.v_again.steps.prescale_amax, vector / dim) != 1) {
    repeat_blocks<per_lane>(machine, p.v_again, b, head, rows);
  }
  machine.lanes([&](int lane) {
    for (std::int64_t c = warp * kLanes + lane; c < dim; c += kCodeWarps * kLanes) {
      float sum = 0, weights = 0;
      std::int64_t count = 0;
      for_each_pair(of.sums, blocks, dim, c, [&](float of_sum, float with) {
        sum = sum + of_sum;
        weights = weights + with;
        if (!of.centre) count += static_cast<std::int64_t>(with);
      });
      const float mean = of.centre ? spec::centre_of(sum, weights) : spec::mean_of(sum, count);
      if (!gains && !of.rotate) {
        of.mean[vector + c] = mean;
        continue;
      }
      machine.store_shared(head_number_at(HeadVector::mean, c), mean);
      if (!gains) continue;
      const float gain = find_gain(of, p.gains, head, b, blocks, c, mean);
      p.gains.of_k[vector + c] = gain;
      p.gains.of_q[vector + c] = 1.0f / gain;
      machine.store_shared(head_number_at(HeadVector::gain, c), gain);
      if (!block_means) continue;
      const spec::ChannelSpreads spreads = find_spreads(of, p.gains, blocks, c, mean);
      machine.store_shared(head_number_at(HeadVector::spread_from_mean, c), spreads.from_mean);
      machine.store_shared(head_number_at(HeadVector::spread_from_block_mean, c), spreads.from_block_mean);
    }
  });
  if (!gains && !of.rotate) return;
  machine.sync("vectors of the head");
  if (block_means) {
    const bool taken = take_block_means(machine, dim);
    if (taken) store_block_means<per_lane>(machine, of, p.gains, blocks.first, blocks.count);
    machine.lanes([&](int lane) {
      if (lane == 0 && warp == 0) p.gains.block_means.taken[vector / dim] = taken ? 1 : 0;
    });
  }
  if (warp != 0) return;
  Registers<Machine, float, per_lane> mean;
  machine.lanes(
      [&](int lane, float(&m)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          m[i] = c < dim ? head_number(machine, HeadVector::mean, c) : 0.0f;
          if (gains && c < dim) m[i] = m[i] * head_number(machine, HeadVector::gain, c);
        }
      },
      mean);
  if (gains ? p.gains.rotate : of.rotate) rotate_rows<per_lane, 1>(machine, mean, dim);
  store_head_vector<per_lane>(machine, mean, of.mean + vector, dim);
}

}  // namespace octavo::cuda
