// Statistics of 128 rows of Q, K or V that quantizing needs first: sums, counts and extremes of channels, without stray
// rows where the recipe wants that; V's weighted sums; ranges of groups larger than the block. One thread block a block
// of rows. The order of every f32 sum is that of spec/mean.hpp, rows ascending, so a thread adds up a channel; the
// warps load and transform rows for it, kCodeWarps * kRowsAtOnce in a round.
#pragma once

#include "cuda/operands/load_transform.hpp"
#include "cuda/operands/ranges.hpp"
#include "cuda/operands/stray_rows.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/mean.hpp"
#include "spec/qk_gain.hpp"
#include "spec/value_centre.hpp"

namespace octavo::cuda {

static_assert(spec::kMeanBlock == kPackedRows && spec::kQueryBlock == kPackedRows,
              "blocks of rows serve as the means' and the queries'");

template <int per_lane>
constexpr int kRoundRows = kCodeWarps * kRowsAtOnce<per_lane>;
// Channels of a thread: the first is the thread's number, the next kCodeWarps * kLanes further.
template <int per_lane>
constexpr int kOwnChannels = per_lane <= kCodeWarps ? 1 : per_lane / kCodeWarps;
template <class Machine>
OCTAVO_DEVICE int own_channel(const Machine& machine, int lane, int i) {
  return (i * kCodeWarps + machine.warp()) * kLanes + lane;
}

struct alignas(8) StagedPair {
  float a, b;
};

// A block's channels: sums and counts of the finite values, their extremes.
template <class Machine, int per_lane>
struct BlockStats {
  Registers<Machine, float, kOwnChannels<per_lane>> sum, count, low, high;
};

// Calls add(round's first row, `at` of its rows in shared memory, `at` of a word for each) for all rows of the block in
// rounds. word(row, exists, amax, finite) is that word; with_ranges: amax and finite are known.
template <int per_lane, class Machine, class Word, class Add>
OCTAVO_DEVICE void for_staged_rows(Machine& machine, const RowSteps& steps, const BlockOfRows& at, bool with_ranges,
                                   const Word& word, const Add& add) {
  constexpr int kRows = kRowsAtOnce<per_lane>;
  std::uint32_t stage = 0;
  for (std::int64_t first = 0; first < kPackedRows && at.row + first < at.rows; first += kRoundRows<per_lane>) {
    const int of_warp = machine.warp() * kRows;
    Registers<Machine, float, per_lane * kRows> x;
    Registers<Machine, float, kRows> amax;
    Registers<Machine, std::uint32_t, kRows> nonfinite;
    load_transformed<per_lane>(machine, x, steps, at, at.row + first + of_warp);
    if (with_ranges) row_ranges<per_lane, kRows>(machine, amax, nonfinite, x);
    const std::uint32_t exists = existing_rows(steps, at, at.row + first + of_warp, kRows);
    machine.lanes(
        [&](int lane, float(&v)[per_lane * kRows], float(&a)[kRows], std::uint32_t(&o)[kRows]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRows; ++i) {
            const auto row = static_cast<std::uint32_t>(of_warp + i);
            OCTAVO_UNROLL
            for (int s = 0; s < per_lane; s += 2) {
              const auto channel = row * kLanes * per_lane + static_cast<std::uint32_t>(channel_of(lane, s));
              machine.store_shared(stage + 4 * channel, StagedPair{v[i * per_lane + s], v[i * per_lane + s + 1]});
            }
            if (lane != i) continue;
            const bool counts = (exists >> i & 1) != 0;
            machine.store_shared(stage + kStageWordsAt + 4 * row,
                                 word(first + row, counts, with_ranges ? a[i] : 0.0f, !with_ranges || o[i] == 0));
          }
        },
        x, amax, nonfinite);
    machine.sync("rows are there");
    add(stage, stage + kStageWordsAt);
    stage = kStageBytes - stage;  // the threads may be one round apart
  }
  machine.sync("rows are done with");
}

// Adds the block's rows up to exponent `limit`. `stores_exponents`: those of all rows that exist, in shared memory.
template <int per_lane, class Machine>
OCTAVO_DEVICE void add_block_rows(Machine& machine, const RowSteps& steps, const BlockOfRows& at, bool robust,
                                  bool stores_exponents, std::uint32_t limit, BlockStats<Machine, per_lane>& stats) {
  constexpr int kOwn = kOwnChannels<per_lane>;
  machine.lanes(
      [](int, float(&s)[kOwn], float(&n)[kOwn], float(&low)[kOwn], float(&high)[kOwn]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kOwn; ++i) {
          s[i] = n[i] = 0;
          low[i] = __builtin_inff();
          high[i] = -__builtin_inff();
        }
      },
      stats.sum, stats.count, stats.low, stats.high);
  for_staged_rows<per_lane>(
      machine, steps, at, robust,
      [&](std::int64_t row, bool exists, float amax, bool) {
        if (stores_exponents) {
          machine.store_shared(kExponentsAt + 4 * static_cast<std::uint32_t>(row),
                               exists && amax > 0 ? spec::exponent_of(amax) : ~0u);
        }
        return exists && !spec::is_stray(amax, limit) ? 1.0f : 0.0f;
      },
      [&](std::uint32_t rows, std::uint32_t words) {
        machine.lanes(
            [&](int lane, float(&s)[kOwn], float(&n)[kOwn], float(&low)[kOwn], float(&high)[kOwn]) {
              OCTAVO_UNROLL
              for (int i = 0; i < kOwn; ++i) {
                const int c = own_channel(machine, lane, i);
                if (c >= kLanes * per_lane) continue;
                OCTAVO_UNROLL
                for (int row = 0; row < kRoundRows<per_lane>; ++row) {
                  const auto at_row = static_cast<std::uint32_t>(row);
                  const float value = machine.template shared<float>(
                      rows + 4 * (at_row * kLanes * per_lane + static_cast<std::uint32_t>(c)));
                  if (machine.template shared<float>(words + 4 * at_row) == 0 || !is_finite(value)) continue;
                  s[i] = s[i] + value;
                  n[i] = n[i] + 1;
                  low[i] = value < low[i] ? value : low[i];
                  high[i] = value > high[i] ? value : high[i];
                }
              }
            },
            stats.sum, stats.count, stats.low, stats.high);
      });
}

// Exponents of the block's rows, row r in lane r modulo 32, above 254 where there is none.
template <int per_lane, class Machine>
OCTAVO_DEVICE void load_exponents(Machine& machine, const BlockOfRows& at,
                                  Registers<Machine, std::uint32_t, 4>& exponents) {
  machine.lanes(
      [&](int lane, std::uint32_t(&e)[4]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int row = lane + kLanes * i;
          const bool loaded = at.row + row / kRoundRows<per_lane> * kRoundRows<per_lane> < at.rows;
          e[i] =
              loaded ? machine.template shared<std::uint32_t>(kExponentsAt + 4 * static_cast<std::uint32_t>(row)) : ~0u;
        }
      },
      exponents);
}

// K's rows by exponent, and the largest of the block.
template <class Machine>
OCTAVO_DEVICE void count_exponents(Machine& machine, Registers<Machine, std::uint32_t, 4>& exponents,
                                   std::uint32_t* counts, std::uint32_t* of_largest) {
  Registers<Machine, std::uint32_t, 1> most;
  const int warp = machine.warp();
  machine.lanes(
      [&](int, std::uint32_t(&e)[4], std::uint32_t(&m)[1]) {
        m[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {
          if (e[i] > 254) continue;
          if (i == warp) count_in(counts + e[i]);
          m[0] = e[i] > m[0] ? e[i] : m[0];
        }
      },
      exponents, most);
  reduce_over<kLanes>(machine, most, [](std::uint32_t a, std::uint32_t b) { return a > b ? a : b; });
  machine.lanes(
      [&](int lane, std::uint32_t(&m)[1]) {
        if (lane == 0 && warp == 0) *of_largest = m[0];
      },
      most);
}

// The rows of each exponent of a head of K.
OCTAVO_INLINE std::uint32_t* exponents_of(const StatsParams& p, std::int64_t b, std::int64_t head) {
  return p.exponents != nullptr ? p.exponents + 256 * (b * p.steps.sequences.heads + head) : nullptr;
}

// Again: without rows above exponent `limit`, where the block has some.
template <int per_lane, class Machine>
OCTAVO_DEVICE void channel_stats(Machine& machine, const StatsParams& p, const BlockOfRows& at,
                                 std::uint32_t limit = spec::kAnyExponent) {
  constexpr int kOwn = kOwnChannels<per_lane>;
  const std::int64_t dim = p.steps.x.dim;
  if (p.again && p.of_largest[at.block] <= limit) return;
  BlockStats<Machine, per_lane> stats;
  // Q's second pass is over its own stray rows.
  OCTAVO_ROLLED
  for (bool first = true;; first = false) {
    const bool finds = p.robust && !p.again && first;
    add_block_rows<per_lane>(machine, p.steps, at, p.robust, finds, limit, stats);
    if (!finds) break;
    Registers<Machine, std::uint32_t, 4> exponents;
    load_exponents<per_lane>(machine, at, exponents);
    if (!p.of_block) {
      count_exponents(machine, exponents, exponents_of(p, at.b, at.head), p.of_largest + at.block);
      break;
    }
    limit = exponent_limit(machine, exponents);
    const std::int64_t stray = count_over_lanes(machine, exponents, [&](int, std::uint32_t(&e)[4]) {
      std::uint32_t count = 0;
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) count += e[i] < 255 && e[i] > limit ? 1u : 0u;
      return count;
    });
    if (stray == 0) break;
  }
  const std::int64_t mean_at = block_mean_at(p.steps, at);
  machine.lanes(
      [&](int lane, float(&s)[kOwn], float(&n)[kOwn], float(&low)[kOwn], float(&high)[kOwn]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kOwn; ++i) {
          const int c = own_channel(machine, lane, i);
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

// Sums of V's rows, each times its weight (spec/value_centre.hpp), and of the weights.
template <int per_lane, class Machine>
OCTAVO_DEVICE void sum_weighted_rows(Machine& machine, const StatsParams& p, const BlockOfRows& at) {
  constexpr int kOwn = kOwnChannels<per_lane>;
  const std::int64_t dim = p.steps.x.dim;
  Registers<Machine, float, kOwn> sum, weights;
  clear<Machine, float, kOwn>(machine, sum);
  clear<Machine, float, kOwn>(machine, weights);
  for_staged_rows<per_lane>(
      machine, p.steps, at, true,
      [](std::int64_t, bool exists, float amax, bool finite) {
        return exists ? spec::centre_weight(amax, finite) : 0.0f;
      },
      [&](std::uint32_t rows, std::uint32_t words) {
        machine.lanes(
            [&](int lane, float(&s)[kOwn], float(&all)[kOwn]) {
              OCTAVO_UNROLL
              for (int i = 0; i < kOwn; ++i) {
                const int c = own_channel(machine, lane, i);
                if (c >= kLanes * per_lane) continue;
                OCTAVO_UNROLL
                for (int row = 0; row < kRoundRows<per_lane>; ++row) {
                  const auto at_row = static_cast<std::uint32_t>(row);
                  const float weight = machine.template shared<float>(words + 4 * at_row);
                  const float value = machine.template shared<float>(
                      rows + 4 * (at_row * kLanes * per_lane + static_cast<std::uint32_t>(c)));
                  if (weight == 0) continue;
                  all[i] = all[i] + weight;
                  s[i] = s[i] + weight * value;
                }
              }
            },
            sum, weights);
      });
  machine.lanes(
      [&](int lane, float(&s)[kOwn], float(&all)[kOwn]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kOwn; ++i) {
          const int c = own_channel(machine, lane, i);
          if (c < dim) p.sums[2 * at.block * dim + c] = s[i], p.sums[(2 * at.block + 1) * dim + c] = all[i];
        }
      },
      sum, weights);
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void find_ranges(Machine& machine, const StatsParams& p, const BlockOfRows& at) {
  const std::int64_t dim = p.steps.x.dim;
  const bool by_channel = spec::per_channel(p.groups.granularity);
  const std::int64_t first = first_scale(p.array, p.steps.sequences, at.b, at.head);
  const float* mean = mean_of(p.steps, at);
  Registers<Machine, float, per_lane> amax;
  Registers<Machine, std::uint32_t, per_lane> nonfinite;
  const auto join = [&](std::int64_t group) {
    if (by_channel) {
      machine.lanes(
          [&](int lane, float(&a)[per_lane], std::uint32_t(&o)[per_lane]) {
            OCTAVO_UNROLL
            for (int i = 0; i < per_lane; ++i) {
              const int c = channel_of(lane, i);
              if (c < dim) grow_range(p.ranges, first + group * dim + c, a[i], o[i]);
            }
          },
          amax, nonfinite);
    } else {
      Registers<Machine, float, 1> of_rows;
      Registers<Machine, std::uint32_t, 1> nonfinite_rows;
      join_lanes<per_lane>(machine, of_rows, nonfinite_rows, amax, nonfinite);
      machine.lanes(
          [&](int lane, float(&a)[1], std::uint32_t(&o)[1]) {
            if (lane == 0) grow_range(p.ranges, first + group, a[0], o[0]);
          },
          of_rows, nonfinite_rows);
    }
    clear_ranges<per_lane>(machine, amax, nonfinite);
  };
  clear_ranges<per_lane>(machine, amax, nonfinite);
  std::int64_t group = spec::group_of_row(p.groups, at.row);
  for (std::int64_t r = machine.warp() * kRowsAtOnce<per_lane>; r < kPackedRows && at.row + r < at.rows;
       r += kCodeWarps * kRowsAtOnce<per_lane>) {
    const std::int64_t own = spec::group_of_row(p.groups, at.row + r);  // key blocks hold whole steps of rows
    if (own != group) {
      join(group);
      group = own;
    }
    Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>> x;
    load_transformed<per_lane>(machine, x, p.steps, at, at.row + r);
    subtract_mean<per_lane, kRowsAtOnce<per_lane>>(machine, x, mean, dim);
    grow_channel_ranges<per_lane, kRowsAtOnce<per_lane>>(machine, amax, nonfinite, x,
                                                         existing_rows(p.steps, at, at.row + r, kRowsAtOnce<per_lane>));
  }
  join(group);
}

// `limit`: of K's rows, as channel_stats() has it.
template <int per_lane, class Machine>
OCTAVO_DEVICE void stats_of_block(Machine& machine, const StatsParams& p, const BlockOfRows& at, std::uint32_t limit) {
  if (p.what == RowStat::channels) return channel_stats<per_lane>(machine, p, at, limit);
  if (p.what == RowStat::weighted) return sum_weighted_rows<per_lane>(machine, p, at);
  find_ranges<per_lane>(machine, p, at);
}
template <class Machine>
OCTAVO_DEVICE std::uint32_t limit_of_head(Machine& machine, const StatsParams& p, std::int64_t b, std::int64_t head) {
  return p.again ? exponent_limit(machine, exponents_of(p, b, head)) : spec::kAnyExponent;
}

// One pass over several operands.
template <int per_lane, class Machine>
OCTAVO_DEVICE void row_stats(Machine& machine, const StatsOfOperands& all) {
  begin_kernel(machine);
  const PartOfGrid own = part_of_grid(machine, all.count);
  const StatsParams& p = all.of[own.part];
  const BlockOfRows at = own_block(machine, p.steps.sequences, own);
  if (at.live) stats_of_block<per_lane>(machine, p, at, limit_of_head(machine, p, at.b, at.head));
}

template <class Machine>
OCTAVO_DEVICE void finish_scales(Machine& machine, const ScaleParams& p) {
  begin_kernel(machine);
  const std::int64_t threads = machine.blocks(0) * machine.warps() * kLanes;
  const std::int64_t first = (machine.block(0) * machine.warps() + machine.warp()) * kLanes;
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        for (std::int64_t i = first + lane; i < p.count; i += threads) {
          p.scales[i] = scale_of_range(f32_of_bits(p.ranges.amax[i]), p.ranges.nonfinite[i], p.rule.range,
                                       p.rule.zero_scale_of_zero)
                            .scale;
        }
      },
      none);
}

}  // namespace octavo::cuda
