// The launches of quantize(), dequantize() and merge_state() on a device, and quantize()'s scratch memory:
//   places of the sequences' scales | keys that exist | sums of channels -> mean | ranges of groups larger than a block
//   -> their scales | codes, and all other scales
#include "core/text.hpp"
#include "cuda/host/implementation.hpp"
#include "cuda/host/launch.hpp"
#include "cuda/host/scale_places.hpp"
#include "cuda/host/workspace.hpp"
#include "cuda/operands/params.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/operand.hpp"

namespace octavo::cuda {
namespace {

Status refuse_dim(const Implementation& implementation, std::int64_t dim) {
  if (dim <= kMostChannels) return {};
  return unimplemented("implementation \"", implementation.name, "\" does not support head_dim ", dim,
                       "; on CUDA 1 to ", kMostChannels, " are supported");
}

// Of a QuantizeProblem or DequantizeProblem.
template <class Problem>
DeviceSequences sequences_of(const Problem& problem) {
  const bool varlen = problem.cu_seqlens.data != nullptr;
  return device_sequences(varlen ? problem.sequences : problem.batch, problem.heads, problem.rows, {},
                          problem.cu_seqlens);
}

// Whether find_ranges must run before the codes are made.
bool needs_ranges(const spec::Groups& groups) {
  switch (groups.granularity) {
    case Granularity::none:
    case Granularity::token:
    case Granularity::token_folded:
      return false;
    default:
      return !groups_in_block(groups);
  }
}

struct QuantizePlan {
  DeviceSequences sequences;
  OperandRows codes;  // where scales and means go
  spec::Groups groups;
  ScaleRule rule;
  bool rotate = false;
  std::int64_t place_count = 0, range_count = 0;
  std::int64_t sum_count = 0;
  std::int64_t exponent_count = 0, block_count = 0;  // of K, for means without stray rows
  std::int64_t seen_count = 0;                       // 0: all keys exist
  std::size_t bytes = 0;                             // of scratch memory
};

struct QuantizeScratch {
  spec::ScalePlace* places = nullptr;
  float* sums = nullptr;
  std::uint32_t *exponents = nullptr, *largest_exponent = nullptr;
  RangeArrays ranges;
  std::uint8_t* seen = nullptr;
  std::size_t bytes = 0;
};

QuantizeScratch lay_out(const QuantizePlan& plan, std::byte* memory) {
  Parts parts(memory);
  QuantizeScratch to;
  // Amax and flags side by side: one command clears both.
  to.ranges.amax = parts.take<std::uint32_t>(2 * plan.range_count);
  to.ranges.nonfinite = to.ranges.amax != nullptr ? to.ranges.amax + plan.range_count : nullptr;
  to.places = parts.take<spec::ScalePlace>(plan.place_count);
  to.sums = parts.take<float>(plan.sum_count);
  to.exponents = parts.take<std::uint32_t>(plan.exponent_count);
  to.largest_exponent = parts.take<std::uint32_t>(plan.block_count);
  to.seen = parts.take<std::uint8_t>(plan.seen_count);
  to.bytes = parts.bytes();
  return to;
}

QuantizePlan make_plan(const QuantizeProblem& problem) {
  const Recipe& recipe = problem.recipe;
  QuantizePlan plan;
  plan.groups = spec::groups_of(problem.role, recipe);
  plan.rule = scale_rule(recipe, problem.role);
  plan.rotate = spec::is_rotated(recipe, problem.role);
  plan.sequences = sequences_of(problem);
  const bool varlen = plan.sequences.varlen();
  plan.codes = operand_rows(problem.codes, problem.dim);
  plan.codes.scales = problem.scales, plan.codes.mean = problem.mean;
  plan.codes.scales_per_head = problem.scales_per_head, plan.codes.means_per_head = problem.means_per_head;
  plan.codes.scales_per_sequence = problem.heads * problem.scales_per_head;
  plan.codes.means_per_sequence = problem.heads * problem.means_per_head;
  if (varlen) plan.place_count = plan.sequences.count;
  const std::int64_t heads = plan.sequences.count * problem.heads;
  const std::array<std::int64_t, 3> grid = grid_of(plan.sequences);
  const std::int64_t blocks = grid[0] * grid[1] * grid[2];
  if (needs_ranges(plan.groups)) {
    const bool in_rows = varlen && spec::grows_with_rows(plan.groups.granularity);
    plan.range_count = (in_rows ? problem.heads : heads) * problem.scales_per_head;
  }
  if (problem.mean != nullptr && problem.role != Role::q) plan.sum_count = blocks * 2 * problem.dim;
  if (problem.mean != nullptr && problem.role == Role::k && recipe.robust) {
    plan.exponent_count = 256 * heads;
    plan.block_count = blocks;
  }
  if (problem.hides_keys()) plan.seen_count = blocks * kPackedRows;
  plan.bytes = lay_out(plan, nullptr).bytes;
  return plan;
}

}  // namespace

ScaleRule scale_rule(const Recipe& recipe, Role role) {
  return {spec::code_range(recipe, role), spec::zero_scale_of_zero(recipe, role)};
}

Status supports(const Implementation& implementation, const QuantizeProblem& problem) {
  if (Status status = refuse_dim(implementation, problem.dim); !status.ok()) return status;
  return check_grid(implementation.name, sequences_of(problem).count, problem.heads);
}

Status quantize(const QuantizeProblem& problem, const Execution& execution) {
  const QuantizePlan plan = make_plan(problem);
  const DeviceWorkspace memory(execution, problem.device.index, plan.bytes);
  if (!memory.status().ok()) return memory.status();
  const DeviceCall call{problem.device.index, execution.stream, memory.data()};
  const QuantizeScratch scratch = lay_out(plan, memory.data());
  RowSteps steps;
  steps.x = operand_rows(problem.x, problem.dim);
  steps.sequences = plan.sequences;
  steps.rotate = plan.rotate;
  const std::array<std::int64_t, 3> blocks = grid_of(steps.sequences);
  ScaleArray array{problem.scales_per_head};
  Launches launches(call);
  if (plan.sequences.varlen()) {
    ScalePlaceParams places;
    places.of[0] = scales_of_sequences(plan.codes, plan.groups, plan.sequences, scratch.places);
    places.of[0].cu_seqlens_copy = problem.cu_seqlens_copy;
    launches.add(KernelId::find_scale_places, {}, places);
    // Behind the last group of a head nothing else is written.
    const auto clear = [&](bool in_rows, float* numbers, std::int64_t per_head) {
      if (in_rows) launches.clear(numbers, sizeof(float) * static_cast<std::size_t>(problem.heads * per_head));
    };
    clear(places.of[0].scales_in_rows, problem.scales, problem.scales_per_head);
    clear(places.of[0].means_in_rows, problem.mean, problem.means_per_head);
    array.places = steps.mean_places = scratch.places;
    steps.means_per_head = problem.means_per_head;
  }
  if (plan.seen_count > 0) {
    SeenKeysParams seen;
    seen.keys = plan.sequences;
    seen.key_mask = problem.key_mask, seen.kv_lens = problem.kv_lens;
    seen.seen = scratch.seen;
    launches.add(KernelId::mark_seen, {blocks, kCodeWarps}, seen);
    steps.seen = scratch.seen;
  }
  if (problem.mean != nullptr) {
    StatsParams stats;
    stats.steps = steps;
    stats.robust = problem.recipe.robust && problem.role != Role::v;
    stats.of_block = problem.role == Role::q;
    stats.exponents = scratch.exponents;
    stats.of_largest = scratch.largest_exponent;
    stats.sums = scratch.sums;
    if (stats.of_block) stats.mean = problem.mean;
    launches.clear(scratch.exponents, sizeof(std::uint32_t) * static_cast<std::size_t>(plan.exponent_count));
    launches.add_stats({1, {stats}});
    stats.again = true;
    const bool repeats = stats.robust && !stats.of_block, few = blocks[0] <= kFewBlocks;
    if (repeats && !few) launches.add_stats({1, {stats}});
    if (problem.role != Role::q) {
      HeadStatsParams mean;
      mean.k = {steps.sequences, problem.dim, scratch.sums, problem.mean};
      mean.repeats_k = repeats && few, mean.k_again = stats;
      launches.add_head_stats(mean, problem.dim);
    }
    steps.mean = problem.mean;
    steps.mean_of_block = problem.role == Role::q;
  }
  if (plan.range_count > 0) {
    launches.clear(scratch.ranges.amax, 2 * sizeof(std::uint32_t) * static_cast<std::size_t>(plan.range_count));
    StatsParams ranges;
    ranges.what = RowStat::ranges;
    ranges.steps = steps;
    ranges.groups = plan.groups;
    ranges.array = array;
    ranges.ranges = scratch.ranges;
    launches.add_stats({1, {ranges}});
    const ScaleParams scales{scratch.ranges, plan.range_count, plan.rule, problem.scales};
    launches.add(KernelId::finish_scales, {{(plan.range_count + 127) / 128, 1, 1}, kCodeWarps}, scales);
  }
  QuantizeParams params;
  params.steps = steps;
  params.groups = plan.groups;
  params.array = array;
  params.ranges = scratch.ranges;
  params.rule = plan.rule;
  params.codes = problem.codes.data;
  params.dtype = problem.codes.dtype;
  params.strides = problem.codes.strides;
  params.scales = plan.range_count > 0 ? nullptr : problem.scales;
  launches.add(row_kernel(KernelId::quantize_rows_64, problem.dim), {blocks, kCodeWarps, kCodeSharedBytes}, params);
  return launches.status();
}

Status supports(const Implementation& implementation, const DequantizeProblem& problem) {
  if (Status status = refuse_dim(implementation, problem.dim); !status.ok()) return status;
  return check_grid(implementation.name, problem.batch, problem.heads);
}

Status dequantize(const DequantizeProblem& problem, const Execution& execution) {
  DequantizeParams params;
  params.x = operand_rows(problem.codes, problem.dim);
  params.sequences = sequences_of(problem);
  params.groups = spec::groups_of(problem.role, problem.recipe);
  params.mean_of_block = problem.role == Role::q;
  params.rotated = problem.codes.rotated;
  params.out = problem.out;
  const bool places = params.sequences.varlen() && needs_places(params.x, params.groups);
  Parts none(nullptr);
  none.take<spec::ScalePlace>(places ? params.sequences.count : 0);
  const DeviceWorkspace memory(execution, problem.device.index, none.bytes());  // also checks the stream
  if (!memory.status().ok()) return memory.status();
  const DeviceCall call{problem.device.index, execution.stream, memory.data()};
  Launches launches(call);
  if (places) {
    auto* const found = Parts(memory.data()).take<spec::ScalePlace>(params.sequences.count);
    ScalePlaceParams find;
    find.of[0] = scales_of_sequences(params.x, params.groups, params.sequences, found);
    launches.add(KernelId::find_scale_places, {}, find);
    params.x.places = found;
  }
  launches.add(row_kernel(KernelId::dequantize_rows_64, problem.dim), {grid_of(params.sequences), kCodeWarps}, params);
  return launches.status();
}

Status supports(const Implementation& implementation, const MergeProblem& problem) {
  return check_grid(implementation.name, problem.batch, problem.heads);
}

Status merge(const MergeProblem& problem, const Execution& execution) {
  const DeviceWorkspace none(execution, problem.device.index, 0);  // checks the stream
  if (!none.status().ok()) return none.status();
  const std::int64_t blocks = (problem.rows + kCodeWarps - 1) / kCodeWarps;
  return launch({problem.device.index, execution.stream}, KernelId::merge_rows,
                {{blocks, problem.heads, problem.batch}, kCodeWarps}, problem);
}

}  // namespace octavo::cuda
