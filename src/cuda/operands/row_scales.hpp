// The scales of the rows of a block at every granularity: per row, per group in the block, or of the ranges that
// find_ranges has found. A thread block takes 128 rows of a head. Rows whose groups lie in the block are read twice,
// the second time from the cache; all others once.
#pragma once

#include "cuda/operands/channel_stats.hpp"
#include "cuda/operands/tile_config.hpp"

namespace octavo::cuda {

// Scales of kRowsAtOnce rows, the same in all lanes.
template <class Machine, int per_lane>
struct RowScales {
  Registers<Machine, float, kRowsAtOnce<per_lane>> scale, inverse;
  Registers<Machine, std::uint32_t, kRowsAtOnce<per_lane>> nonfinite;  // the row holds a non-finite number
};

// Scales of the block's groups, into shared memory.
template <int per_lane, class Machine>
OCTAVO_DEVICE void range_groups(Machine& machine, const RowSteps& steps, const spec::Groups& groups,
                                const ScaleRule& rule, const BlockOfRows& at, const float* mean) {
  for (std::int64_t r = machine.warp() * kRowsAtOnce<per_lane>; r < kPackedRows;
       r += kCodeWarps * kRowsAtOnce<per_lane>) {
    Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>> x;
    RowScales<Machine, per_lane> found;
    load_transformed<per_lane>(machine, x, steps, at, at.row + r);
    subtract_mean<per_lane, kRowsAtOnce<per_lane>>(machine, x, mean, steps.x.dim);
    row_ranges<per_lane, kRowsAtOnce<per_lane>>(machine, found.scale, found.nonfinite, x);
    const std::uint32_t exists = existing_rows(steps, at, at.row + r, kRowsAtOnce<per_lane>);
    machine.lanes(
        [&](int lane, float(&amax)[kRowsAtOnce<per_lane>], std::uint32_t(&nonfinite)[kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
            if (lane != i) continue;
            const bool counts = (exists >> i & 1) != 0;
            machine.store_shared(kAmaxAt + static_cast<std::uint32_t>(r + i) * 4, counts ? amax[i] : 0.0f);
            machine.store_shared(kNonfiniteAt + static_cast<std::uint32_t>(r + i) * 4, counts ? nonfinite[i] : 0u);
          }
        },
        found.scale, found.nonfinite);
  }
  machine.sync("ranges of rows");
  if (machine.warp() == 0) {
    const std::int64_t first = spec::group_of_row(groups, at.row);
    const std::int64_t rows = at.rows - at.row < kPackedRows ? at.rows - at.row : kPackedRows;
    Registers<Machine, float, 1> none;
    machine.lanes(
        [&](int lane, float(&)[1]) {
          for (int group = lane; group < kMostGroups; group += kLanes) {
            float amax = 0;
            std::uint32_t nonfinite = 0;
            for (std::int64_t r = 0; r < rows; ++r) {
              if (spec::group_of_row(groups, at.row + r) - first != group) continue;
              const auto word = static_cast<std::uint32_t>(r) * 4;
              const float of_row = machine.template shared<float>(kAmaxAt + word);
              amax = of_row > amax ? of_row : amax;
              nonfinite |= machine.template shared<std::uint32_t>(kNonfiniteAt + word);
            }
            const spec::Scale scale = scale_of_range(amax, nonfinite, rule.range, rule.zero_scale_of_zero);
            machine.store_shared(kInverseAt + static_cast<std::uint32_t>(group) * 4, scale.inverse);
            machine.store_shared(kScaleAt + static_cast<std::uint32_t>(group) * 4, scale.scale);
          }
        },
        none);
  }
  machine.sync("scales of groups");
}

// Zeros in place of rows that do not exist: row i does where bit i of `exists` is set.
template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void clear_missing_rows(Machine& machine, Registers<Machine, float, per_lane * count>& x,
                                      std::uint32_t exists) {
  machine.lanes(
      [&](int, float(&v)[per_lane * count]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane * count; ++i) v[i] = (exists >> (i / per_lane) & 1) != 0 ? v[i] : 0.0f;
      },
      x);
}

// Calls emit(row, x, scales) for each kRowsAtOnce rows of the warp; `row` is counted in the block, and behind the
// sequence's last row x is minus the mean. Keys that do not exist are zeros, with the scale of zeros. Scales per
// channel are emit's own business: it has the ranges.
template <int per_lane, class Machine, class Emit>
OCTAVO_DEVICE void for_coded_rows(Machine& machine, const RowSteps& steps, const spec::Groups& groups,
                                  const ScaleArray& array, const RangeArrays& ranges, const ScaleRule& rule,
                                  const BlockOfRows& at, const float* mean, Emit&& emit) {
  const bool local = groups_in_block(groups);
  if (local) range_groups<per_lane>(machine, steps, groups, rule, at, mean);
  const std::int64_t first = spec::group_of_row(groups, at.row);
  const std::int64_t of_head = first_scale(array, steps.sequences, at.b, at.head);
  for (std::int64_t r = machine.warp() * kRowsAtOnce<per_lane>; r < kPackedRows;
       r += kCodeWarps * kRowsAtOnce<per_lane>) {
    Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>> x;
    RowScales<Machine, per_lane> scales;
    load_transformed<per_lane>(machine, x, steps, at, at.row + r);
    subtract_mean<per_lane, kRowsAtOnce<per_lane>>(machine, x, mean, steps.x.dim);
    if (steps.seen != nullptr) {
      clear_missing_rows<per_lane, kRowsAtOnce<per_lane>>(machine, x,
                                                          existing_rows(steps, at, at.row + r, kRowsAtOnce<per_lane>));
    }
    row_ranges<per_lane, kRowsAtOnce<per_lane>>(machine, scales.scale, scales.nonfinite, x);
    machine.lanes(
        [&](int, float(&scale)[kRowsAtOnce<per_lane>], float(&inverse)[kRowsAtOnce<per_lane>],
            std::uint32_t(&nonfinite)[kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
            const std::int64_t group = spec::group_of_row(groups, at.row + r + i);
            spec::Scale found{1, 1};
            if (local) {
              const auto word = static_cast<std::uint32_t>(group - first) * 4;
              found = {machine.template shared<float>(kScaleAt + word),
                       machine.template shared<float>(kInverseAt + word)};
            } else if (groups.granularity == Granularity::token || groups.granularity == Granularity::token_folded) {
              found = scale_of_range(scale[i], nonfinite[i], rule.range, rule.zero_scale_of_zero);
            } else if (groups.granularity != Granularity::none && !spec::per_channel(groups.granularity)) {
              // Groups behind the last row have no range.
              const bool exists = at.row + r + i < at.rows;
              const std::uint32_t amax = exists ? ranges.amax[of_head + group] : 0;
              const std::uint32_t not_finite = exists ? ranges.nonfinite[of_head + group] : 0;
              found = scale_of_range(f32_of_bits(amax), not_finite, rule.range, rule.zero_scale_of_zero);
            }
            scale[i] = found.scale;
            inverse[i] = found.inverse;
          }
        },
        scales.scale, scales.inverse, scales.nonfinite);
    emit(r, x, scales);
  }
}

}  // namespace octavo::cuda
