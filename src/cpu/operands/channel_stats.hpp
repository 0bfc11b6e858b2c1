// Statistics of K's and V's channels over a block of 128 rows that a head's codes depend on; finish_stats.hpp joins
// them.
#pragma once

#include "cpu/operands/channel_extremes.hpp"
#include "cpu/operands/seen_keys.hpp"
#include "spec/stray_rows.hpp"
#include "spec/value_centre.hpp"

namespace octavo::cpu {
namespace {

// Stretch i of the sequence's keys.
struct KeyBlockRows {
  std::int64_t first, last;
};
OCTAVO_INLINE KeyBlockRows rows_of_block(const Sequence& rows, std::int64_t i) {
  const std::int64_t first = i * spec::kMeanBlock, last = first + spec::kMeanBlock;
  return {first, last < rows.k_rows ? last : rows.k_rows};
}

// Statistics of K over the rows of block i that are seen and, with a `limit` (spec/stray_rows.hpp), not stray. Without
// a limit the rows' magnitudes are stored.
template <class S>
OCTAVO_INLINE void channel_stats_of_keys(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i,
                                         std::uint32_t limit) {
  const Plan& plan = *call.plan;
  const Operand& k = plan.problem->k;
  const std::int64_t dim = plan.problem->head_dim;
  const Sequence rows = sequence_at(call, b)->rows;
  const auto [first, last] = rows_of_block(rows, i);
  const ChannelStats to = channel_stats_of_k(call, b, kv_head, i);
  const SeenKeys seen = seen_keys(call, b, kv_head);
  const RowSource source(k, b, kv_head, rows.k_begin);
  float* magnitudes = key_magnitudes(call, b, kv_head, i);
  const bool first_pass = limit == spec::kAnyExponent;
  alignas(64) float row[kMaxPadded];
  alignas(64) std::int32_t of_rotation[kMaxPadded];
  const bool rotate = plan.rotate_qk && !plan.k_needs.as_given;
  if (rotate) rotation_signs(of_rotation, dim);
  const std::int32_t* signs = rotate ? of_rotation : nullptr;
  if (first_pass && !plan.k_needs.extremes && seen.all(first, last) &&
      sum_register_rows<S>(source, first, last, dim, signs, to, magnitudes))
    return;
  if (first_pass && plan.k_needs.as_given && seen.all(first, last) &&
      stats_of_given_rows<S>(source, first, last, dim, to, magnitudes))
    return;
  std::int64_t counted[spec::kMeanBlock], count = 0;
  for (std::int64_t r = first; r < last; ++r) {
    if (magnitudes != nullptr && first_pass) magnitudes[r - first] = 0;
    if (seen(r) && (magnitudes == nullptr || first_pass || !spec::is_stray(magnitudes[r - first], limit)))
      counted[count++] = r;
  }
  spec::ChannelNeeds needs = plan.k_needs;
  if (!first_pass) needs.extremes = plan.qk_gains;  // a scale of all rows is for stray ones, too
  channel_stats_of_rows<S>(needs, to, count, dim, [&](std::int64_t r) __attribute__((always_inline)) {
    load_transformed<S>(k, source.at(counted[r]), dim, signs, row);
    if (magnitudes != nullptr && first_pass) magnitudes[counted[r] - first] = row_range<S>(row, dim).amax;
    return static_cast<const float*>(row);
  });
}

// V's centre (spec/value_centre.hpp): sums of weighted rows as they were given, the weights' sum in counts[0].
template <class S>
OCTAVO_INLINE void sum_weighted_values(const RowSource& source, const std::int64_t* rows, std::int64_t count,
                                       std::int64_t dim, float unit, const ChannelStats& to) {
  alignas(64) float row[kMaxPadded];
  float weights = 0;
  for (std::int64_t d = 0; d < padded(dim); ++d) to.sums[d] = to.counts[d] = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    load_transformed<S>(source.tensor(), source.at(rows[i]), dim, nullptr, row, unit);
    const RowRange range = row_range<S>(row, dim);
    const float weight = spec::centre_weight(range.amax, range.finite);
    if (weight == 0) continue;
    weights += weight;
    for (std::int64_t d = 0; d < padded(dim); d += S::kLanes)
      S::store(to.sums + d, S::add(S::load(to.sums + d), S::mul(S::set1(weight), S::load(row + d))));
  }
  to.counts[0] = weights;
}

template <class S>
OCTAVO_INLINE void channel_stats_of_values(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const Plan& plan = *call.plan;
  const Operand& v = plan.problem->v;
  const std::int64_t dim = plan.problem->value_dim;
  const Sequence rows = sequence_at(call, b)->rows;
  const auto [first, last] = rows_of_block(rows, i);
  const ChannelStats to = channel_stats_of_v(call, b, kv_head, i);
  const SeenKeys seen = seen_keys(call, b, kv_head);
  const RowSource source(v, b, kv_head, rows.k_begin);
  const float unit = head_at(call, b, kv_head)->v_prescale;
  alignas(64) float row[kMaxPadded];
  alignas(64) std::int32_t of_rotation[kMaxPadded];
  if (plan.rotate_v) rotation_signs(of_rotation, dim);
  const std::int32_t* signs = plan.rotate_v ? of_rotation : nullptr;
  std::int64_t counted[spec::kMeanBlock], count = 0;
  for (std::int64_t r = first; r < last; ++r)
    if (seen(r)) counted[count++] = r;
  spec::ChannelNeeds needs = plan.v_needs;
  if (needs.centre) sum_weighted_values<S>(source, counted, count, dim, unit, to);
  if (!needs.sums && !needs.extremes) return;
  if (!needs.extremes && unit == 1 && count == last - first &&
      sum_register_rows<S>(source, first, last, dim, signs, to, nullptr))
    return;
  channel_stats_of_rows<S>(needs, to, count, dim, [&](std::int64_t r) __attribute__((always_inline)) {
    load_transformed<S>(v, source.at(counted[r]), dim, signs, row, unit);
    return static_cast<const float*>(row);
  });
}

// Rows i * 128 .. of one head of K and V.
template <class S>
void channel_stats(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  if (call.plan->k_needs.any()) channel_stats_of_keys<S>(call, b, kv_head, i, spec::kAnyExponent);
  if (call.plan->v_needs.any()) channel_stats_of_values<S>(call, b, kv_head, i);
}
}  // namespace
}  // namespace octavo::cpu
