// quantize() on the CPU, knowing no instruction set: three phases over units of rows (operands/quantize_plan.hpp).
#include <algorithm>
#include <cmath>

#include "cpu/for_each_task.hpp"
#include "cpu/implementation.hpp"
#include "cpu/operands/quantize_plan.hpp"
#include "cpu/operands/tile_config.hpp"
#include "spec/mean.hpp"
#include "spec/operand.hpp"
#include "spec/stray_rows.hpp"

namespace octavo::cpu {
namespace {

// Recomputes the sums of K's units that hold stray rows, without them.
void leave_out_stray_rows(const QuantizeCall& call, const KernelTable& kernels, std::int64_t head) {
  const QuantizePlan& plan = *call.plan;
  const auto rows_of = [&](std::int64_t unit) {
    return std::min(spec::kMeanBlock, plan.problem->rows - unit * spec::kMeanBlock);
  };
  spec::ExponentHistogram histogram;
  for (std::int64_t unit = 0; unit < plan.mean_units; ++unit) {
    for (std::int64_t r = 0; r < rows_of(unit); ++r) spec::add_row(histogram, magnitudes_of(call, head, unit)[r]);
  }
  const std::uint32_t limit = spec::exponent_limit(histogram);
  for (std::int64_t unit = 0; unit < plan.mean_units; ++unit) {
    const float* magnitudes = magnitudes_of(call, head, unit);
    const bool any =
        std::any_of(magnitudes, magnitudes + rows_of(unit), [&](float x) { return spec::is_stray(x, limit); });
    if (any) kernels.sum_unit(call, head, unit, limit);
  }
}

// The mean over all rows of the head.
void finish_mean(const QuantizeCall& call, const KernelTable& kernels, std::int64_t head) {
  const QuantizePlan& plan = *call.plan;
  if (plan.problem->recipe.robust && plan.problem->role == Role::k) leave_out_stray_rows(call, kernels, head);
  float* mean = mean_of_unit(call, head, 0);
  for (std::int64_t d = 0; d < plan.problem->dim; ++d) {
    float sum = 0;
    std::int64_t count = 0;
    for (std::int64_t unit = 0; unit < plan.mean_units; ++unit) {
      sum += sums_of(call, head, unit)[d];
      count += static_cast<std::int64_t>(sums_of(call, head, unit)[plan.width + d]);
    }
    mean[d] = spec::mean_of(sum, count);
  }
}

// The range of a group from those of its members; the sign bit stands for something that is not finite.
struct GroupRange {
  float amax = 0;
  bool finite = true;
  void add(float range) {
    amax = std::max(amax, std::fabs(range));
    finite = finite && !std::signbit(range);
  }
};

void put_scale(const QuantizePlan& plan, const GroupRange& range, float* scale, float* inverse) {
  const spec::Scale of_group = spec::scale_of(range.amax, plan.range, plan.zero_scale_of_zero ? 0.0f : 1.0f);
  *scale = range.finite ? of_group.scale : __builtin_nanf("");
  *inverse = of_group.inverse;
}

void finish_scales(const QuantizeCall& call, std::int64_t head) {
  const QuantizePlan& plan = *call.plan;
  const QuantizeProblem& problem = *plan.problem;
  const std::int64_t groups = spec::row_groups(plan.groups, problem.rows);
  float* inverses = inverses_of(call, head);
  const float* ranges = ranges_of(call, head);
  float* scales = problem.scales + head * problem.scales_per_head;
  if (spec::per_channel(plan.groups.granularity)) {
    for (std::int64_t g = 0; g < groups; ++g) {
      // A unit is a key block for block_channel scales; a channel's only group takes every unit.
      const std::int64_t first = groups == plan.units ? g : 0, last = groups == plan.units ? g + 1 : plan.units;
      for (std::int64_t d = 0; d < problem.dim; ++d) {
        GroupRange range;
        for (std::int64_t unit = first; unit < last; ++unit) range.add(ranges[unit * plan.width + d]);
        put_scale(plan, range, scales + g * problem.dim + d, inverses + g * plan.width + d);
      }
      std::fill(inverses + g * plan.width + problem.dim, inverses + (g + 1) * plan.width, 0.0f);
    }
    return;
  }
  if (groups == problem.rows) {
    for (std::int64_t r = 0; r < problem.rows; ++r) {
      GroupRange range;
      range.add(ranges[r]);
      put_scale(plan, range, scales + r, inverses + r);
    }
    return;
  }
  // `inverses` gathers the groups' ranges before they become inverses.
  std::fill(inverses, inverses + groups, 0.0f);
  for (std::int64_t r = 0; r < problem.rows; ++r) {
    float& of_group = inverses[spec::group_of_row(plan.groups, r)];
    GroupRange range;
    range.add(of_group);
    range.add(ranges[r]);
    of_group = range.finite ? range.amax : -range.amax;
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    GroupRange range;
    range.add(inverses[g]);
    put_scale(plan, range, scales + g, inverses + g);
  }
}

QuantizePlan make_quantize_plan(const QuantizeProblem& problem) {
  const Recipe& recipe = problem.recipe;
  QuantizePlan plan;
  plan.problem = &problem;
  plan.groups = spec::groups_of(problem.role, recipe);
  plan.rotate = spec::is_rotated(recipe, problem.role);
  plan.zero_scale_of_zero = spec::zero_scale_of_zero(recipe, problem.role);
  plan.range = spec::code_range(recipe, problem.role);
  plan.unit_rows = plan.groups.granularity == Granularity::block_channel ? recipe.key_block : spec::kMeanBlock;
  plan.units = (problem.rows + plan.unit_rows - 1) / plan.unit_rows;
  plan.mean_units = (problem.rows + spec::kMeanBlock - 1) / spec::kMeanBlock;
  plan.width = padded(problem.dim);

  const std::int64_t heads = problem.batch * problem.heads;
  const auto take = [&](std::int64_t floats) {
    const std::size_t at = plan.bytes;
    plan.bytes += static_cast<std::size_t>((floats * 4 + 63) / 64 * 64);
    return at;
  };
  const bool per_channel = spec::per_channel(plan.groups.granularity);
  plan.pending_at = take(4 * heads);
  plan.sums_at = take(problem.mean != nullptr ? heads * plan.mean_units * 2 * plan.width : 0);
  plan.magnitudes_at = take(problem.mean != nullptr && recipe.robust ? heads * plan.mean_units * spec::kMeanBlock : 0);
  plan.ranges_at = take(heads * plan.units * (per_channel ? plan.width : plan.unit_rows));
  plan.inverses_at = take(heads * spec::row_groups(plan.groups, problem.rows) * (per_channel ? plan.width : 1));
  return plan;
}

}  // namespace

std::size_t workspace_size(const Implementation&, const QuantizeProblem& problem, int) noexcept {
  return make_quantize_plan(problem).bytes;
}

void quantize(const Implementation& implementation, const QuantizeProblem& problem, ParallelRunner& runner,
              std::byte* workspace) noexcept {
  const QuantizePlan plan = make_quantize_plan(problem);
  const KernelTable& kernels = *implementation.kernels;
  const QuantizeCall call{&plan, workspace};
  const std::int64_t heads = problem.batch * problem.heads, tasks = heads * plan.units;
  const int workers = std::max(runner.threads(), 1);
  for (std::int64_t head = 0; head < heads; ++head) {
    pending_of(call, head)[0] = plan.mean_units;
    pending_of(call, head)[1] = plan.units;
    if (plan.units == 0 && problem.mean != nullptr && problem.role != Role::q) finish_mean(call, kernels, head);
    if (plan.units == 0 && problem.scales != nullptr) finish_scales(call, head);
  }
  if (problem.mean != nullptr) {
    for_each_task(runner, workers, heads * plan.mean_units, [&](std::int64_t, std::int64_t task) {
      const std::int64_t head = task / plan.mean_units;
      kernels.sum_unit(call, head, task % plan.mean_units, spec::kAnyExponent);
      if (problem.role != Role::q && is_last(pending_of(call, head)[0])) finish_mean(call, kernels, head);
    });
  }
  if (problem.scales != nullptr) {
    for_each_task(runner, workers, tasks, [&](std::int64_t, std::int64_t task) {
      const std::int64_t head = task / plan.units;
      kernels.range_unit(call, head, task % plan.units);
      if (is_last(pending_of(call, head)[1])) finish_scales(call, head);
    });
  }
  for_each_task(runner, workers, tasks, [&](std::int64_t, std::int64_t task) {
    kernels.code_unit(call, task / plan.units, task % plan.units);
  });
}

}  // namespace octavo::cpu
