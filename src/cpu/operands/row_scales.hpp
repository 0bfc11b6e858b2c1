// The scale of every row of Q or K, whatever the granularity: a row's own, its group's, or the head's. Groups lie
// within aligned stretches of Groups::width rows; a stretch is ranged row by row before any of its rows becomes codes.
#pragma once

#include "cpu/operands/quantize.hpp"
#include "spec/granularity.hpp"

namespace octavo::cpu {
namespace {

struct RowScale {
  float scale;  // NaN: something in the group is not finite
  float inverse;
};

OCTAVO_INLINE RowScale row_scale_of(RowRange range, float code_range) {
  const spec::Scale scale = spec::scale_of(range.amax, code_range);
  return {range.finite ? scale.scale : __builtin_nanf(""), scale.inverse};
}

OCTAVO_INLINE void grow_range(RowRange& range, RowRange by) {
  if (by.amax > range.amax) range.amax = by.amax;
  range.finite = range.finite && by.finite;
}

class RowScales {
 public:
  // `of_head`: the range of all rows, for one scale per tensor.
  inline __attribute__((always_inline)) RowScales(const spec::Groups& groups, float code_range, RowRange of_head)
      : groups_(groups), code_range_(code_range), of_head_(row_scale_of(of_head, code_range)) {}

  // Rows of an aligned stretch that must all be ranged first; 1: none, a row's own range will do.
  inline __attribute__((always_inline)) std::int64_t stretch() const {
    return groups_.granularity == Granularity::block || groups_.granularity == Granularity::warp ||
                   groups_.granularity == Granularity::thread
               ? groups_.width
               : 1;
  }
  inline __attribute__((always_inline)) void start_stretch(std::int64_t row) {
    first_group_ = spec::group_of_row(groups_, row / groups_.width * groups_.width);
    for (RowRange& range : ranges_) range = {0.0f, true};
  }
  inline __attribute__((always_inline)) void add(std::int64_t row, RowRange range) {
    grow_range(ranges_[spec::group_of_row(groups_, row) - first_group_], range);
  }

  // The scale of a row of the present stretch; `own` is the row's range.
  inline __attribute__((always_inline)) RowScale of(std::int64_t row, RowRange own) const {
    switch (groups_.granularity) {
      case Granularity::none:
        return {1.0f, 1.0f};
      case Granularity::tensor:
        return of_head_;
      case Granularity::token:
        return row_scale_of(own, code_range_);
      default:
        return row_scale_of(ranges_[spec::group_of_row(groups_, row) - first_group_], code_range_);
    }
  }

 private:
  static constexpr int kMostGroups = 8;  // of a stretch: per thread, 32 rows of Q

  spec::Groups groups_;
  float code_range_;
  RowScale of_head_;
  std::int64_t first_group_ = 0;
  RowRange ranges_[kMostGroups];
};

}  // namespace
}  // namespace octavo::cpu
