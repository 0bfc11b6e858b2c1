// From the rows of one block to what their codes are made with, whatever the granularity: a row's scale is its own, its
// group's in the block, or one of those that find_ranges has found. One block of threads takes 128 rows of a head; rows
// whose groups lie in the block are read twice, the second time out of the cache, all others once.
#pragma once

#include "cuda/kernels/statistics.hpp"
#include "cuda/tile_config.hpp"

namespace octavo::cuda {

// What a warp knows of kRowsAtOnce rows when it turns them into codes; the same in all lanes.
template <class Machine, int slots>
struct RowScales {
  Registers<Machine, float, kRowsAtOnce<slots>> scale, inverse;
  Registers<Machine, std::uint32_t, kRowsAtOnce<slots>> odd;  // the row itself holds something that is not finite
};

// Ranges of the block's groups, into shared memory.
template <int slots, class Machine>
OCTAVO_DEVICE void range_groups(Machine& machine, const RowSteps& steps, const spec::Groups& groups,
                                const ScaleRule& rule, const BlockOfRows& at, const float* mean) {
  for (std::int64_t r = machine.warp() * kRowsAtOnce<slots>; r < kPackedRows; r += kCodeWarps * kRowsAtOnce<slots>) {
    Registers<Machine, float, slots * kRowsAtOnce<slots>> x;
    RowScales<Machine, slots> found;
    load_prepared<slots>(machine, x, steps, at, at.row + r);
    centre_rows<slots, kRowsAtOnce<slots>>(machine, x, mean, steps.x.dim);
    row_ranges<slots, kRowsAtOnce<slots>>(machine, found.scale, found.odd, x);
    machine.lanes(
        [&](int lane, float(&amax)[kRowsAtOnce<slots>], std::uint32_t(&odd)[kRowsAtOnce<slots>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<slots>; ++i) {
            if (lane != i) continue;
            machine.store_shared(kAmaxAt + static_cast<std::uint32_t>(r + i) * 4, amax[i]);
            machine.store_shared(kOddAt + static_cast<std::uint32_t>(r + i) * 4, odd[i]);
          }
        },
        found.scale, found.odd);
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
            std::uint32_t odd = 0;
            for (std::int64_t r = 0; r < rows; ++r) {
              if (spec::group_of_row(groups, at.row + r) - first != group) continue;
              const auto word = static_cast<std::uint32_t>(r) * 4;
              const float of_row = machine.template shared<float>(kAmaxAt + word);
              amax = of_row > amax ? of_row : amax;
              odd |= machine.template shared<std::uint32_t>(kOddAt + word);
            }
            const spec::Scale scale = scale_of_range(amax, odd, rule.range, rule.zero_scale_of_zero);
            machine.store_shared(kInverseAt + static_cast<std::uint32_t>(group) * 4, scale.inverse);
            machine.store_shared(kScaleAt + static_cast<std::uint32_t>(group) * 4, scale.scale);
          }
        },
        none);
  }
  machine.sync("scales of groups");
}

// Calls emit(row, x, scales) for every step of rows of the warp; `row` counts in the block, and behind the sequence's
// last row x is 0 less the mean. Scales per channel are not looked up: emit has the ranges.
template <int slots, class Machine, class Emit>
OCTAVO_DEVICE void for_coded_rows(Machine& machine, const RowSteps& steps, const spec::Groups& groups,
                                  std::int64_t groups_per_head, const RangeArrays& ranges, const ScaleRule& rule,
                                  const BlockOfRows& at, const float* mean, Emit&& emit) {
  const bool local = groups_in_block(groups);
  if (local) range_groups<slots>(machine, steps, groups, rule, at, mean);
  const std::int64_t first = spec::group_of_row(groups, at.row);
  const std::int64_t of_head = (at.b * steps.sequences.heads + at.head) * groups_per_head;
  for (std::int64_t r = machine.warp() * kRowsAtOnce<slots>; r < kPackedRows; r += kCodeWarps * kRowsAtOnce<slots>) {
    Registers<Machine, float, slots * kRowsAtOnce<slots>> x;
    RowScales<Machine, slots> scales;
    load_prepared<slots>(machine, x, steps, at, at.row + r);
    centre_rows<slots, kRowsAtOnce<slots>>(machine, x, mean, steps.x.dim);
    row_ranges<slots, kRowsAtOnce<slots>>(machine, scales.scale, scales.odd, x);
    machine.lanes(
        [&](int, float(&scale)[kRowsAtOnce<slots>], float(&inverse)[kRowsAtOnce<slots>],
            std::uint32_t(&odd)[kRowsAtOnce<slots>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<slots>; ++i) {
            const std::int64_t group = spec::group_of_row(groups, at.row + r + i);
            spec::Scale found{1, 1};
            if (local) {
              const auto word = static_cast<std::uint32_t>(group - first) * 4;
              found = {machine.template shared<float>(kScaleAt + word),
                       machine.template shared<float>(kInverseAt + word)};
            } else if (groups.granularity == Granularity::token || groups.granularity == Granularity::token_folded) {
              found = scale_of_range(scale[i], odd[i], rule.range, rule.zero_scale_of_zero);
            } else if (groups.granularity != Granularity::none && !spec::per_channel(groups.granularity)) {
              // A group behind the last row has no range.
              const bool exists = at.row + r + i < at.rows;
              const std::uint32_t amax = exists ? ranges.amax[of_head + group] : 0;
              const std::uint32_t not_finite = exists ? ranges.odd[of_head + group] : 0;
              found = scale_of_range(f32_of_bits(amax), not_finite, rule.range, rule.zero_scale_of_zero);
            }
            scale[i] = found.scale;
            inverse[i] = found.inverse;
          }
        },
        scales.scale, scales.inverse, scales.odd);
    emit(r, x, scales);
  }
}

}  // namespace octavo::cuda
