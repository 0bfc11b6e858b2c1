// Statistics of a head, or of a group of many rows, that quantizing its rows needs first.
//   sum_channels    128 rows -> sums and counts of channels, or their mean       one warp a block of rows
//   finish_means    [blocks][2][dim] -> [dim]                                     one block a head
//   find_ranges     128 rows -> ranges of the groups they lie in                  one warp a block of rows
//   finish_scales   ranges -> scales                                              any number of warps
// The order of every f32 sum is that of spec/mean.hpp: rows ascending in a block, blocks ascending.
#pragma once

#include "cuda/operands/load_transform.hpp"
#include "cuda/operands/ranges.hpp"
#include "spec/mean.hpp"

namespace octavo::cuda {

static_assert(spec::kMeanBlock == kPackedRows && spec::kQueryBlock == kPackedRows,
              "blocks of rows serve as the means' and the queries'");

template <int per_lane, class Machine>
OCTAVO_DEVICE void sum_channels(Machine& machine, const SumParams& p) {
  const BlockOfRows at = own_block(machine, p.steps.sequences);
  if (!at.live) return;
  const std::int64_t dim = p.steps.x.dim;
  Registers<Machine, float, per_lane> sum, count;
  machine.lanes(
      [](int, float(&s)[per_lane], float(&n)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) s[i] = n[i] = 0;
      },
      sum, count);
  for (std::int64_t r = 0; r < kPackedRows && at.row + r < at.rows; r += kRowsAtOnce<per_lane>) {
    Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>> x;
    load_transformed<per_lane>(machine, x, p.steps, at, at.row + r);
    const std::uint32_t exists = existing_rows(p.steps, at, at.row + r, kRowsAtOnce<per_lane>);
    machine.lanes(
        [&](int, float(&s)[per_lane], float(&n)[per_lane], float(&v)[per_lane * kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int row = 0; row < kRowsAtOnce<per_lane>; ++row) {
            OCTAVO_UNROLL
            for (int i = 0; i < per_lane; ++i) {
              if ((exists >> row & 1) == 0 || !is_finite(v[row * per_lane + i])) continue;
              s[i] = s[i] + v[row * per_lane + i];
              n[i] = n[i] + 1;
            }
          }
        },
        sum, count, x);
  }
  const std::int64_t mean_at = block_mean_at(p.steps, at);
  machine.lanes(
      [&](int lane, float(&s)[per_lane], float(&n)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c >= dim) continue;
          if (p.sums != nullptr) {
            p.sums[(2 * at.block) * dim + c] = s[i];
            p.sums[(2 * at.block + 1) * dim + c] = n[i];
          }
          if (p.mean != nullptr) p.mean[mean_at + c] = spec::mean_of(0.0f + s[i], static_cast<std::int64_t>(n[i]));
        }
      },
      sum, count);
}

template <class Machine>
OCTAVO_DEVICE void finish_means(Machine& machine, const MeanParams& p) {
  const std::int64_t head = machine.block(0), b = machine.block(1);
  const SequenceRows rows = sequence_rows(p.sequences, b);
  const std::int64_t blocks = packed_blocks(rows.rows), first = first_block_of(p.sequences, b, head, rows.begin);
  const int warp = machine.warp(), threads = machine.warps() * kLanes;
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        for (std::int64_t c = warp * kLanes + lane; c < p.dim; c += threads) {
          float sum = 0;
          std::int64_t count = 0;
          for (std::int64_t i = first; i < first + blocks; ++i) {
            sum = sum + p.sums[2 * i * p.dim + c];
            count += static_cast<std::int64_t>(p.sums[(2 * i + 1) * p.dim + c]);
          }
          p.mean[(b * p.sequences.heads + head) * p.dim + c] = spec::mean_of(sum, count);
        }
      },
      none);
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void find_ranges(Machine& machine, const RangeParams& p) {
  const BlockOfRows at = own_block(machine, p.steps.sequences);
  if (!at.live) return;
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
  for (std::int64_t r = 0; r < kPackedRows && at.row + r < at.rows; r += kRowsAtOnce<per_lane>) {
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

template <class Machine>
OCTAVO_DEVICE void finish_scales(Machine& machine, const ScaleParams& p) {
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
