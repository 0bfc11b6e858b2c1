// quantize() on the CPU in terms of units of rows: what each phase reads and writes in scratch memory.
//   1 sums      channel sums of 128 rows; the head's mean (K, V) when its last sums are done
//   2 ranges    largest magnitude of every row or column of a unit; the head's scales when its last unit is done
//   3 codes
#pragma once

#include <cstddef>

#include "core/inline.hpp"
#include "core/problem.hpp"
#include "spec/granularity.hpp"
#include "spec/mean.hpp"

namespace octavo::cpu {

struct QuantizePlan {
  const QuantizeProblem* problem = nullptr;
  spec::Groups groups;
  bool rotate = false;
  bool zero_scale_of_zero = false;  // a token of folded V
  float range = 127;
  std::int64_t unit_rows = 128;  // a query block, a mean block or a key block
  std::int64_t units = 0;        // of a head
  std::int64_t mean_units = 0;   // likewise, of 128 rows whatever the units: the mean's order of additions is fixed
  std::int64_t width = 0;        // padded channels
  std::size_t pending_at = 0, sums_at = 0, magnitudes_at = 0, ranges_at = 0, inverses_at = 0;
  std::size_t bytes = 0;
};

struct QuantizeCall {
  const QuantizePlan* plan;
  std::byte* scratch;
};

// Counters of the head: what is to go in phase 1, in phase 2.
OCTAVO_INLINE std::int64_t* pending_of(const QuantizeCall& call, std::int64_t head) {
  return reinterpret_cast<std::int64_t*>(call.scratch + call.plan->pending_at) + 2 * head;
}
// f32 [2][width]: sums and counts of the channels of 128 rows.
OCTAVO_INLINE float* sums_of(const QuantizeCall& call, std::int64_t head, std::int64_t unit) {
  return reinterpret_cast<float*>(call.scratch + call.plan->sums_at) +
         (head * call.plan->mean_units + unit) * 2 * call.plan->width;
}
// f32 [128]: largest magnitudes of the rows of a unit of the mean, where the recipe leaves stray rows out.
OCTAVO_INLINE float* magnitudes_of(const QuantizeCall& call, std::int64_t head, std::int64_t unit) {
  return reinterpret_cast<float*>(call.scratch + call.plan->magnitudes_at) +
         (head * call.plan->mean_units + unit) * spec::kMeanBlock;
}
// Largest finite magnitudes, the sign bit set where some value is not finite: f32 [rows] of a head, or
// f32 [units][width] for scales per channel.
OCTAVO_INLINE float* ranges_of(const QuantizeCall& call, std::int64_t head) {
  const QuantizePlan& plan = *call.plan;
  const std::int64_t per_head =
      spec::per_channel(plan.groups.granularity) ? plan.units * plan.width : plan.units * plan.unit_rows;
  return reinterpret_cast<float*>(call.scratch + plan.ranges_at) + head * per_head;
}
// 1 / scale in the quantizer's sense, laid out like the scales of a head, channels padded to `width`.
OCTAVO_INLINE float* inverses_of(const QuantizeCall& call, std::int64_t head) {
  const QuantizePlan& plan = *call.plan;
  const std::int64_t per_head =
      spec::row_groups(plan.groups, plan.problem->rows) * (spec::per_channel(plan.groups.granularity) ? plan.width : 1);
  return reinterpret_cast<float*>(call.scratch + plan.inverses_at) + head * per_head;
}
// Mean that rows of a unit lose; null where nothing is subtracted.
OCTAVO_INLINE float* mean_of_unit(const QuantizeCall& call, std::int64_t head, std::int64_t unit) {
  const QuantizeProblem& problem = *call.plan->problem;
  if (problem.mean == nullptr) return nullptr;
  return problem.mean + head * problem.means_per_head + (problem.role == Role::q ? unit * problem.dim : 0);
}

}  // namespace octavo::cpu
