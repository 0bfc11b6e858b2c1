// Statistics of channels without stray rows, and what follows from them: the gains of Q and K, V's weighted centre, the
// fold's largest scale. One warp a block of 128 rows, or a head. The order of every f32 sum is that of spec/mean.hpp.
#pragma once

#include "cuda/operands/channel_stats.hpp"
#include "cuda/operands/stray_rows.hpp"
#include "spec/block_mean.hpp"
#include "spec/fold.hpp"
#include "spec/qk_gain.hpp"
#include "spec/value_centre.hpp"

namespace octavo::cuda {

template <int per_lane, class Machine>
OCTAVO_DEVICE void clear_floats(Machine& machine, Registers<Machine, float, per_lane>& x) {
  machine.lanes(
      [](int, float(&v)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) v[i] = 0;
      },
      x);
}

// A block's channels: sums and counts of the finite values, their extremes.
template <class Machine, int per_lane>
struct BlockStats {
  Registers<Machine, float, per_lane> sum, count, low, high;
};

// Adds the block's rows up to exponent `limit`; `exponents` gets those of all rows that exist, row r in lane r modulo
// 32.
template <int per_lane, class Machine>
OCTAVO_DEVICE void add_block_rows(Machine& machine, const RowSteps& steps, const BlockOfRows& at, std::uint32_t limit,
                                  BlockStats<Machine, per_lane>& stats,
                                  Registers<Machine, std::uint32_t, 4>& exponents) {
  constexpr int kRows = kRowsAtOnce<per_lane>;
  machine.lanes(
      [](int, float(&s)[per_lane], float(&n)[per_lane], float(&low)[per_lane], float(&high)[per_lane],
         std::uint32_t(&e)[4]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          s[i] = n[i] = 0;
          low[i] = __builtin_inff();
          high[i] = -__builtin_inff();
        }
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) e[i] = ~0u;
      },
      stats.sum, stats.count, stats.low, stats.high, exponents);
  for (std::int64_t r = 0; r < kPackedRows && at.row + r < at.rows; r += kRows) {
    Registers<Machine, float, per_lane * kRows> x;
    Registers<Machine, float, kRows> amax;
    Registers<Machine, std::uint32_t, kRows> nonfinite;
    load_transformed<per_lane>(machine, x, steps, at, at.row + r);
    row_ranges<per_lane, kRows>(machine, amax, nonfinite, x);
    const std::uint32_t exists = existing_rows(steps, at, at.row + r, kRows);
    machine.lanes(
        [&](int lane, float(&s)[per_lane], float(&n)[per_lane], float(&low)[per_lane], float(&high)[per_lane],
            std::uint32_t(&e)[4], float(&v)[per_lane * kRows], float(&a)[kRows]) {
          OCTAVO_UNROLL
          for (int row = 0; row < kRows; ++row) {
            if ((exists >> row & 1) == 0) continue;
            OCTAVO_UNROLL
            for (int i = 0; i < 4; ++i) {
              if (lane + kLanes * i == r + row && a[row] > 0) e[i] = spec::exponent_of(a[row]);
            }
            if (spec::is_stray(a[row], limit)) continue;
            OCTAVO_UNROLL
            for (int i = 0; i < per_lane; ++i) {
              const float value = v[row * per_lane + i];
              if (!is_finite(value)) continue;
              s[i] = s[i] + value;
              n[i] = n[i] + 1;
              low[i] = value < low[i] ? value : low[i];
              high[i] = value > high[i] ? value : high[i];
            }
          }
        },
        stats.sum, stats.count, stats.low, stats.high, exponents, x, amax);
  }
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void channel_stats(Machine& machine, const StatsParams& p) {
  const BlockOfRows at = own_block(machine, p.steps.sequences);
  if (!at.live) return;
  const std::int64_t dim = p.steps.x.dim;
  std::uint32_t* const counts =
      p.exponents != nullptr ? p.exponents + 256 * (at.b * p.steps.sequences.heads + at.head) : nullptr;
  std::uint32_t limit = spec::kAnyExponent;
  if (p.again) {
    limit = exponent_limit(machine, counts);
    if (p.of_largest[at.block] <= limit) return;
  }
  BlockStats<Machine, per_lane> stats;
  Registers<Machine, std::uint32_t, 4> exponents;
  add_block_rows<per_lane>(machine, p.steps, at, limit, stats, exponents);
  if (p.robust && !p.again) {
    const auto largest = [&](std::uint32_t than) {
      return count_over_lanes(machine, exponents, [&](int, std::uint32_t(&e)[4]) {
        std::uint32_t count = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) count += e[i] < 255 && e[i] > than ? 1u : 0u;
        return count;
      });
    };
    if (p.of_block) {
      limit = exponent_limit(machine, exponents);
      if (largest(limit) > 0) add_block_rows<per_lane>(machine, p.steps, at, limit, stats, exponents);
    } else {
      Registers<Machine, std::uint32_t, 1> most;
      machine.lanes(
          [&](int, std::uint32_t(&e)[4], std::uint32_t(&m)[1]) {
            m[0] = 0;
            OCTAVO_UNROLL
            for (int i = 0; i < 4; ++i) {
              if (e[i] > 254) continue;
              count_in(counts + e[i]);
              m[0] = e[i] > m[0] ? e[i] : m[0];
            }
          },
          exponents, most);
      reduce_over<kLanes>(machine, most, [](std::uint32_t a, std::uint32_t b) { return a > b ? a : b; });
      machine.lanes(
          [&](int lane, std::uint32_t(&m)[1]) {
            if (lane == 0) p.of_largest[at.block] = m[0];
          },
          most);
    }
  }
  const std::int64_t mean_at = block_mean_at(p.steps, at);
  machine.lanes(
      [&](int lane, float(&s)[per_lane], float(&n)[per_lane], float(&low)[per_lane], float(&high)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c >= dim) continue;
          const std::int64_t pair = 2 * at.block * dim + c;
          const float mean = spec::mean_of(0.0f + s[i], static_cast<std::int64_t>(n[i]));
          if (p.sums != nullptr) p.sums[pair] = s[i], p.sums[pair + dim] = n[i];
          if (p.mean != nullptr) p.mean[mean_at + c] = mean;
          if (p.extremes != nullptr) p.extremes[pair] = low[i], p.extremes[pair + dim] = high[i];
          if (p.spread != nullptr) {
            p.spread[at.block * dim + c] = low[i] > high[i] ? -1.0f : spec::spread(low[i], high[i], mean);
          }
        }
      },
      stats.sum, stats.count, stats.low, stats.high);
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

// Whether a head takes the means of its blocks of keys, from the spreads that the warp's lanes have stored.
template <class Machine>
OCTAVO_DEVICE bool take_block_means(Machine& machine, const GainParams& p, std::int64_t at) {
  machine.sync_warp();
  spec::BlockMeanEvidence evidence;
  for (std::int64_t c = 0; c < p.dim; ++c) {
    const float* const spreads = p.block_means.spreads + 2 * at * p.dim + c;
    spec::add_channel(evidence, {spreads[0], spreads[p.dim]}, p.of_k[at * p.dim + c]);
  }
  return spec::takes_block_means(evidence);
}

// The means of a head's blocks, after the gains and the rotation, and how far they lie from its own. `mean`: as given.
template <int per_lane, class Machine>
OCTAVO_DEVICE void store_block_means(Machine& machine, const GainParams& p, std::int64_t first, std::int64_t blocks,
                                     const float* mean, const float* gain) {
  for (std::int64_t block = first; block < first + blocks; ++block) {
    Registers<Machine, float, per_lane> own;
    machine.lanes(
        [&](int lane, float(&m)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            const int c = channel_of(lane, i);
            m[i] = 0;
            if (c >= p.dim) continue;
            const float sum = p.sums[2 * block * p.dim + c], count = p.sums[(2 * block + 1) * p.dim + c];
            const float value = count > 0 ? spec::mean_of(0.0f + sum, static_cast<std::int64_t>(count)) : mean[c];
            p.block_means.shift[block * p.dim + c] = value - mean[c];
            m[i] = value * gain[c];
          }
        },
        own);
    if (p.rotate) rotate_rows<per_lane, 1>(machine, own, p.dim);
    machine.lanes(
        [&](int lane, float(&m)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            const int c = channel_of(lane, i);
            if (c < p.dim) p.block_means.mean[block * p.dim + c] = m[i];
          }
        },
        own);
  }
}

// The gains of a head (spec/qk_gain.hpp). K's mean becomes that of its rows after the gains and the rotation.
template <int per_lane, class Machine>
OCTAVO_DEVICE void find_qk_gains(Machine& machine, const GainParams& p) {
  const std::int64_t head = machine.block(0), b = machine.block(1), dim = p.dim;
  const SequenceRows q = sequence_rows(p.queries, b), k = sequence_rows(p.keys, b);
  const std::int64_t k_blocks = packed_blocks(k.rows), k_first = first_block_of(p.keys, b, head, k.begin);
  const std::int64_t q_blocks = packed_blocks(q.rows);
  const bool measured = q.rows >= spec::kGainQueryRows && k_blocks > 0;
  const std::int64_t vector = (b * p.keys.heads + head) * dim;
  Registers<Machine, float, per_lane> mean;
  machine.lanes(
      [&](int lane, float(&m)[per_lane]) {
        OCTAVO_ROLLED
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          float scaled = 0;
          if (c < dim) {
            float gain = 1;
            const float of_k = p.mean[vector + c];
            if (measured) {
              MeanSpread a;
              for (std::int64_t block = k_first; block < k_first + k_blocks; ++block) {
                const float low = p.extremes[2 * block * dim + c], high = p.extremes[(2 * block + 1) * dim + c];
                if (low <= high) add_spread(a, spec::spread(low, high, of_k));
              }
              float u = 0;
              for (std::int64_t h = head * p.heads_per_kv_head; h < (head + 1) * p.heads_per_kv_head; ++h) {
                MeanSpread of_q;
                const std::int64_t first = first_block_of(p.queries, b, h, q.begin);
                for (std::int64_t block = first; block < first + q_blocks; ++block) {
                  const float spread = p.spread[block * dim + c];
                  if (spread >= 0) add_spread(of_q, spread);
                }
                const float of_head = mean_of_spreads(of_q);
                u = of_head > u ? of_head : u;
              }
              gain = spec::gain_of(u, mean_of_spreads(a));
            }
            p.of_k[vector + c] = gain;
            p.of_q[vector + c] = 1.0f / gain;
            if (p.block_means.taken != nullptr) {
              spec::ChannelSpreads spreads;
              for (std::int64_t block = k_first; block < k_first + k_blocks; ++block) {
                const float low = p.extremes[2 * block * dim + c], high = p.extremes[(2 * block + 1) * dim + c];
                const float sum = p.sums[2 * block * dim + c], count = p.sums[(2 * block + 1) * dim + c];
                const float own = spec::mean_of(0.0f + sum, static_cast<std::int64_t>(count));
                spec::add_spreads(spreads, count, low, high, of_k, own);
              }
              p.block_means.spreads[2 * vector + c] = spreads.from_mean;
              p.block_means.spreads[2 * vector + dim + c] = spreads.from_block_mean;
            }
            scaled = of_k * gain;
          }
          OCTAVO_UNROLL
          for (int s = 0; s < per_lane; ++s) {
            if (s == i) m[s] = scaled;
          }
        }
      },
      mean);
  if (p.block_means.taken != nullptr) {
    const bool taken = take_block_means(machine, p, vector / dim);
    if (taken) store_block_means<per_lane>(machine, p, k_first, k_blocks, p.mean + vector, p.of_k + vector);
    machine.lanes(
        [&](int lane, float(&)[per_lane]) {
          if (lane == 0) p.block_means.taken[vector / dim] = taken ? 1 : 0;
        },
        mean);
    machine.sync_warp();
  }
  if (p.rotate) rotate_rows<per_lane, 1>(machine, mean, dim);
  machine.lanes(
      [&](int lane, float(&m)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c < dim) p.mean[vector + c] = m[i];
        }
      },
      mean);
}

// Sums of V's rows, each times its weight (spec/value_centre.hpp), and of the weights.
template <int per_lane, class Machine>
OCTAVO_DEVICE void sum_weighted_rows(Machine& machine, const CentreSumParams& p) {
  constexpr int kRows = kRowsAtOnce<per_lane>;
  const BlockOfRows at = own_block(machine, p.steps.sequences);
  if (!at.live) return;
  const std::int64_t dim = p.steps.x.dim;
  RowSteps as_given = p.steps;
  as_given.rotate = false;
  Registers<Machine, float, per_lane> sum;
  float weights = 0;
  clear_floats<per_lane>(machine, sum);
  for (std::int64_t r = 0; r < kPackedRows && at.row + r < at.rows; r += kRows) {
    Registers<Machine, float, per_lane * kRows> x;
    Registers<Machine, float, kRows> amax;
    Registers<Machine, std::uint32_t, kRows> nonfinite;
    load_transformed<per_lane>(machine, x, as_given, at, at.row + r);
    row_ranges<per_lane, kRows>(machine, amax, nonfinite, x);
    const std::uint32_t exists = existing_rows(as_given, at, at.row + r, kRows);
    float after = weights;
    machine.lanes(
        [&](int, float(&s)[per_lane], float(&v)[per_lane * kRows], float(&a)[kRows], std::uint32_t(&o)[kRows]) {
          float all = weights;
          OCTAVO_UNROLL
          for (int row = 0; row < kRows; ++row) {
            const float weight = (exists >> row & 1) != 0 ? spec::centre_weight(a[row], o[row] == 0) : 0.0f;
            if (weight == 0) continue;
            all = all + weight;
            OCTAVO_UNROLL
            for (int i = 0; i < per_lane; ++i) s[i] = s[i] + weight * v[row * per_lane + i];
          }
          after = all;
        },
        sum, x, amax, nonfinite);
    weights = after;
  }
  machine.lanes(
      [&](int lane, float(&s)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c < dim) p.sums[2 * at.block * dim + c] = s[i], p.sums[(2 * at.block + 1) * dim + c] = weights;
        }
      },
      sum);
}

// V's centre of a head, rotated as its rows are.
template <int per_lane, class Machine>
OCTAVO_DEVICE void finish_centres(Machine& machine, const CentreParams& p) {
  const std::int64_t head = machine.block(0), b = machine.block(1), dim = p.dim;
  const SequenceRows rows = sequence_rows(p.sequences, b);
  const std::int64_t blocks = packed_blocks(rows.rows), first = first_block_of(p.sequences, b, head, rows.begin);
  Registers<Machine, float, per_lane> centre, weights;
  clear_floats<per_lane>(machine, centre);
  clear_floats<per_lane>(machine, weights);
  for (std::int64_t block = first; block < first + blocks; ++block) {
    machine.lanes(
        [&](int lane, float(&s)[per_lane], float(&w)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            const int c = channel_of(lane, i);
            if (c >= dim) continue;
            s[i] = s[i] + p.sums[2 * block * dim + c];
            w[i] = w[i] + p.sums[(2 * block + 1) * dim + c];
          }
        },
        centre, weights);
  }
  machine.lanes(
      [&](int lane, float(&s)[per_lane], float(&w)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) s[i] = channel_of(lane, i) < dim ? spec::centre_of(s[i], w[i]) : 0.0f;
      },
      centre, weights);
  if (p.rotate) rotate_rows<per_lane, 1>(machine, centre, dim);
  machine.lanes(
      [&](int lane, float(&s)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c < dim) p.centre[(b * p.sequences.heads + head) * dim + c] = s[i];
        }
      },
      centre);
}

// s_max of a head without stray tokens (spec/fold.hpp). Whether a token is stray is said by its exponent alone.
template <class Machine>
OCTAVO_DEVICE void find_largest_scales(Machine& machine, const LargestScaleParams& p) {
  const std::int64_t head = machine.block(1) * p.heads + machine.block(0);
  const std::uint32_t limit = exponent_limit(machine, p.by_exponent.count + 256 * head);
  Registers<Machine, float, 2> largest;  // of all, of those that are not stray
  machine.lanes(
      [&](int lane, float(&x)[2]) {
        x[0] = x[1] = 0;
        for (std::uint32_t e = static_cast<std::uint32_t>(lane); e < 256; e += kLanes) {
          const float scale = f32_of_bits(p.by_exponent.largest[256 * head + e]);
          x[0] = spec::grow_largest_scale(x[0], scale);
          if (e <= limit) x[1] = spec::grow_largest_scale(x[1], scale);
        }
      },
      largest);
  max_over<kLanes>(machine, largest);
  machine.lanes(
      [&](int lane, float(&x)[2]) {
        if (lane == 0) p.largest[head] = bits_of_f32(spec::bounded_largest_scale(x[1], x[0]));
      },
      largest);
}

}  // namespace octavo::cuda
