// Checks before a launch: whether an operand's rows can be read two channels at a time, and whether batch and heads fit
// their grid axes.
#include "cuda/host/launch.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "cuda/operands/tile_config.hpp"

namespace octavo::cuda {
namespace {

// Whether two neighbouring channels of every row are one aligned load.
bool has_pairs(const Operand& x, std::int64_t dim) {
  const bool floats = x.dtype == DType::f32 || x.dtype == DType::f16 || x.dtype == DType::bf16;
  if (!floats || dim % 2 != 0 || x.strides[3] != 1) return false;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    if (x.strides[axis] % 2 != 0) return false;
  }
  return reinterpret_cast<std::uintptr_t>(x.data) % (x.dtype == DType::f32 ? 8 : 4) == 0;
}

}  // namespace

OperandRows operand_rows(const Operand& x, std::int64_t dim) { return {x, dim, has_pairs(x, dim)}; }

void Launches::add_stats(const StatsOfOperands& stats) {
  std::array<std::int64_t, 3> grid{0, 0, 0};
  std::int64_t dim = 0;
  for (std::int32_t i = 0; i < stats.count; ++i) {
    const std::array<std::int64_t, 3> of_operand = grid_of(stats.of[i].steps.sequences);
    for (std::size_t axis = 0; axis < 3; ++axis) grid[axis] = std::max(grid[axis], of_operand[axis]);
    dim = std::max(dim, stats.of[i].steps.x.dim);
  }
  grid[0] *= stats.count;
  add(row_kernel(KernelId::row_stats_64, dim), {grid, kCodeWarps, kStatsSharedBytes}, stats);
}

void Launches::add_head_stats(const HeadStatsParams& stats, std::int64_t dim) {
  const bool of_k = stats.k.mean != nullptr, of_v = stats.v.mean != nullptr;
  const DeviceSequences& sequences = of_k ? stats.k.sequences : stats.v.sequences;
  const std::uint32_t shared = stats.repeats_k || stats.repeats_v ? kStatsSharedBytes : kHeadSharedBytes;
  add(row_kernel(KernelId::head_stats_64, dim),
      {{sequences.heads, sequences.count, of_k && of_v ? 2 : 1}, kCodeWarps, shared}, stats);
}

Status check_grid(const char* implementation, std::int64_t batch, std::int64_t heads) {
  if (batch <= kMostGridYZ && heads <= kMostGridYZ) return {};
  return unimplemented("implementation \"", implementation, "\" does not support batch ", batch, " with ", heads,
                       " heads; it supports up to ", kMostGridYZ, " of each");
}

}  // namespace octavo::cuda
