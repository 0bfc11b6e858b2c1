// The kernels of quantize(): a unit of rows in each of its phases (quantize_plan.hpp).
#pragma once

#include "cpu/operands/load_transform.hpp"
#include "cpu/operands/quantize_plan.hpp"
#include "spec/stray_rows.hpp"

namespace octavo::cpu {
namespace {

struct UnitRows {
  std::int64_t b, h, first, last;
};

OCTAVO_INLINE UnitRows rows_of_unit(const QuantizePlan& plan, std::int64_t head, std::int64_t unit,
                                    std::int64_t unit_rows) {
  const QuantizeProblem& problem = *plan.problem;
  const std::int64_t first = unit * unit_rows, end = first + unit_rows;
  return {head / problem.heads, head % problem.heads, first, end < problem.rows ? end : problem.rows};
}

// Channel sums of 128 rows, but those that are stray by `limit` (spec/stray_rows.hpp); without a limit their magnitudes
// are noted. For Q the sums are already those of the block's mean, stray rows and all.
template <class S>
void sum_unit(const QuantizeCall& call, std::int64_t head, std::int64_t unit, std::uint32_t limit) {
  const QuantizePlan& plan = *call.plan;
  const QuantizeProblem& problem = *plan.problem;
  const UnitRows rows = rows_of_unit(plan, head, unit, spec::kMeanBlock);
  alignas(64) std::int32_t signs[kMaxPadded];
  rotation_signs(signs, problem.dim);
  alignas(64) float row[kMaxPadded];
  float *sums = sums_of(call, head, unit), *magnitudes = magnitudes_of(call, head, unit);
  const bool robust = problem.recipe.robust, hides = problem.hides_keys();
  std::int64_t counted[spec::kMeanBlock];
  const auto sum_up = [&](std::uint32_t largest) {
    std::int64_t count = 0;
    for (std::int64_t r = rows.first; r < rows.last; ++r) {
      if (hides && !problem.key_exists(rows.b, r)) {
        if (robust) magnitudes[r - rows.first] = 0;
      } else if (largest == spec::kAnyExponent || !spec::is_stray(magnitudes[r - rows.first], largest)) {
        counted[count++] = r;
      }
    }
    sum_rows<S>(count, problem.dim, sums, sums + plan.width, [&](std::int64_t i) __attribute__((always_inline)) {
      load_transformed<S>(problem.x, problem.x.offset(rows.b, rows.h, counted[i]), problem.dim,
                          plan.rotate ? signs : nullptr, row);
      if (robust && largest == spec::kAnyExponent)
        magnitudes[counted[i] - rows.first] = row_range<S>(row, problem.dim).amax;
      return static_cast<const float*>(row);
    });
  };
  sum_up(limit);
  if (problem.role != Role::q) return;
  if (robust) {
    spec::ExponentHistogram histogram;
    for (std::int64_t r = 0; r < rows.last - rows.first; ++r) spec::add_row(histogram, magnitudes[r]);
    sum_up(spec::exponent_limit(histogram));
  }
  float* mean = mean_of_unit(call, head, unit);
  for (std::int64_t d = 0; d < problem.dim; ++d)
    mean[d] = spec::mean_of(sums[d], static_cast<std::int64_t>(sums[plan.width + d]));
}

// One row as it is quantized: floats, rotated, less the mean (dense and padded); zeros for a key that does not exist.
template <class S>
OCTAVO_INLINE void load_centred(const QuantizePlan& plan, const UnitRows& rows, std::int64_t r,
                                const std::int32_t* signs, const float* mean, float* row) {
  const QuantizeProblem& problem = *plan.problem;
  if (problem.hides_keys() && !problem.key_exists(rows.b, r)) {
    for (std::int64_t d = 0; d < plan.width; d += S::kLanes) S::store(row + d, S::set1(0.0f));
    return;
  }
  load_transformed<S>(problem.x, problem.x.offset(rows.b, rows.h, r), problem.dim, plan.rotate ? signs : nullptr, row);
  for (std::int64_t d = 0; d < plan.width; d += S::kLanes)
    S::store(row + d, S::sub(S::load(row + d), S::load(mean + d)));
}

OCTAVO_INLINE void load_mean(const QuantizeCall& call, std::int64_t head, std::int64_t unit, float* mean) {
  const float* given = mean_of_unit(call, head, unit);
  for (std::int64_t d = 0; d < call.plan->width; ++d)
    mean[d] = given != nullptr && d < call.plan->problem->dim ? given[d] : 0.0f;
}

// Largest finite magnitudes; the sign bit says that something beside them is not finite.
template <class S>
void range_unit(const QuantizeCall& call, std::int64_t head, std::int64_t unit) {
  const QuantizePlan& plan = *call.plan;
  const QuantizeProblem& problem = *plan.problem;
  const UnitRows rows = rows_of_unit(plan, head, unit, plan.unit_rows);
  const bool per_channel = spec::per_channel(plan.groups.granularity);
  alignas(64) std::int32_t signs[kMaxPadded];
  rotation_signs(signs, problem.dim);
  alignas(64) float mean[kMaxPadded], row[kMaxPadded];
  load_mean(call, head, unit, mean);
  float* ranges = ranges_of(call, head) + (per_channel ? unit * plan.width : rows.first);
  if (per_channel)
    for (std::int64_t d = 0; d < plan.width; ++d) ranges[d] = 0;
  for (std::int64_t r = rows.first; r < rows.last; ++r) {
    load_centred<S>(plan, rows, r, signs, mean, row);
    if (!per_channel) {
      const RowRange range = row_range<S>(row, problem.dim);
      ranges[r - rows.first] = range.finite ? range.amax : -range.amax;
      continue;
    }
    for (std::int64_t d = 0; d < problem.dim; ++d) {
      const bool finite = !__builtin_signbit(ranges[d]) && octavo::is_finite(row[d]);
      const float amax = spec::grow_amax(__builtin_fabsf(ranges[d]), row[d]);
      ranges[d] = finite ? amax : -amax;
    }
  }
}

// Stores a row's codes where they belong; s4 two to a byte.
OCTAVO_INLINE void store_codes(const Operand& to, std::int64_t at, std::int64_t dim, const std::int8_t* codes) {
  auto* bytes = static_cast<std::uint8_t*>(to.data);
  if (to.dtype != DType::s4) {
    for (std::int64_t d = 0; d < dim; ++d) bytes[at + d * to.strides[3]] = static_cast<std::uint8_t>(codes[d]);
    return;
  }
  for (std::int64_t d = 0; d < dim; d += 2) {
    const int low = codes[d] & 15, high = d + 1 < dim ? codes[d + 1] & 15 : 0;
    bytes[(at + d) >> 1] = static_cast<std::uint8_t>(low | high << 4);
  }
}

template <class S>
void code_unit(const QuantizeCall& call, std::int64_t head, std::int64_t unit) {
  const QuantizePlan& plan = *call.plan;
  const QuantizeProblem& problem = *plan.problem;
  const UnitRows rows = rows_of_unit(plan, head, unit, plan.unit_rows);
  const bool per_channel = spec::per_channel(plan.groups.granularity);
  alignas(64) std::int32_t signs[kMaxPadded];
  rotation_signs(signs, problem.dim);
  alignas(64) float mean[kMaxPadded], row[kMaxPadded], factors[kMaxPadded];
  alignas(64) std::int8_t codes[kMaxPadded];
  load_mean(call, head, unit, mean);
  const bool integer = problem.codes.dtype == DType::s8 || problem.codes.dtype == DType::s4;
  const float* inverses = inverses_of(call, head);
  for (std::int64_t r = rows.first; r < rows.last; ++r) {
    load_centred<S>(plan, rows, r, signs, mean, row);
    const std::int64_t group = spec::group_of_row(plan.groups, r);
    const float inverse = plan.groups.granularity == Granularity::none ? 1.0f : per_channel ? 1.0f : inverses[group];
    const float* column = nullptr;
    if (per_channel) column = inverses + group * plan.width;
    for (std::int64_t d = 0; d < plan.width; ++d) factors[d] = column != nullptr ? column[d] : inverse;
    if (integer) {
      for (std::int64_t d = 0; d < plan.width; d += 4 * S::kLanes) {
        typename S::s32 c[4];
        for (int u = 0; u < 4; ++u)
          c[u] =
              codes_of<S>(S::load(row + d + u * S::kLanes), S::load(factors + d + u * S::kLanes), S::set1(plan.range));
        S::store_s8x4(codes + d, c[0], c[1], c[2], c[3]);
      }
    } else {
      for (std::int64_t d = 0; d < problem.dim; ++d)
        codes[d] = static_cast<std::int8_t>(problem.codes.dtype == DType::e4m3 ? spec::e4m3_code(row[d], factors[d])
                                                                               : spec::e5m2_code(row[d], factors[d]));
    }
    store_codes(problem.codes, problem.codes.offset(rows.b, rows.h, r), problem.dim, codes);
  }
}

}  // namespace
}  // namespace octavo::cpu
