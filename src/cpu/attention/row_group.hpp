// The state of 16 query rows from key block to key block: the online softmax's running maximum and sum, the factors of
// the current block, and the keys that the rows see. Formulas: prefill.hpp.
#pragma once

#include "cpu/attention/stages.hpp"
#include "cpu/operands/scratch.hpp"
#include "cpu/simd/exp2.hpp"
#include "spec/kept_keys.hpp"
#include "spec/online_softmax.hpp"
#include "spec/visibility.hpp"

namespace octavo::cpu {
namespace {

inline constexpr std::int64_t kQueryBlockGroups = kQueryBlock / kGroupRows;

struct RowGroup {
  alignas(64) float m[kGroupRows];
  alignas(64) float l[kGroupRows];
  alignas(64) float alpha[kGroupRows];  // of the current key block
  alignas(64) float beta[kGroupRows];
  bool rescale;                    // some alpha is not 1
  int rows;                        // used ones
  float mask_row_max[kGroupRows];  // the largest finite term of the row's mask, subtracted from all of them
  float lse_offset[kGroupRows];    // what that and ALiBi's peak took from the row's scores, base 2
  std::int64_t keys;               // of the current key block that any of its rows sees, from the block's start
  spec::KeyRange seen;             // by any of its rows
  spec::KeyRange seen_by_all;
  spec::KeyRange near;  // kept by some of its rows
  bool near_alike;      // all rows keep the same near keys, cut to what each sees
};

// Both ends of a row's range grow with the row: all rows see what lies between the last one's begin and the first one's
// end (nothing where either sees nothing).
template <class Seen>
OCTAVO_INLINE void start_group(RowGroup& group, std::int64_t row, int rows, const Seen& seen_by) {
  for (int i = 0; i < kGroupRows; ++i) group.m[i] = -__builtin_inff(), group.l[i] = 0;
  group.rows = rows;
  group.seen = seen_by(row, row + rows);
  const spec::KeyRange top = seen_by(row, row + 1), bottom = seen_by(row + rows - 1, row + rows);
  group.seen_by_all = {bottom.begin, bottom.end == 0 ? 0 : top.end};
}

// Maxima of the block -> shift of the weights, alpha, beta (spec/online_softmax.hpp).
template <class S>
OCTAVO_INLINE void online_softmax_update(const Plan& plan, const float* row_max, const float* score_offset,
                                         RowGroup& group, float* shift) {
  const auto one = S::set1(1.0f);
  bool rescale = false;
  for (int i = 0; i < kGroupRows; i += S::kLanes) {
    const auto step = spec::online_softmax_update<SoftmaxOps<S>>(
        S::load(group.m + i), S::load(row_max + i), S::load(score_offset + i), plan.running_maximum, plan.log2_p_range);
    S::store(shift + i, step.shift);
    S::store(group.alpha + i, step.alpha);
    S::store(group.beta + i, step.beta);
    S::store(group.m + i, step.m);
    rescale = rescale || !S::all(S::equal(step.alpha, one));
  }
  group.rescale = rescale;
}

// Moves the scores of rows whose shift is far from 0 by their shift, so that 2^-shift stays a normal number.
inline constexpr float kFarthestShift = 100.0f;
template <class S>
OCTAVO_INLINE void bring_near_zero(float* shift, int rows, std::int64_t keys, std::int64_t ld, float* scores) {
  const auto farthest = S::set1(kFarthestShift);
  bool near = true;
  for (int i = 0; i < kGroupRows; i += S::kLanes) near = near && S::all(S::less(S::abs(S::load(shift + i)), farthest));
  for (int i = 0; !near && i < rows; ++i) {
    if (__builtin_fabsf(shift[i]) < kFarthestShift) continue;
    const auto by = S::set1(shift[i]);  // NaN and infinity make NaN of the row's largest score, as they must
    float* row = scores + i * ld;
    for (std::int64_t j = 0; j < keys; j += S::kLanes) S::store(row + j, S::sub(S::load(row + j), by));
    shift[i] = 0;
  }
}

template <class S>
OCTAVO_INLINE void add_row_sums(RowGroup& group, const float* row_sum) {
  for (int i = 0; i < kGroupRows; i += S::kLanes)
    S::store(group.l + i, spec::online_softmax_sum<S>(S::load(group.l + i), S::load(row_sum + i),
                                                      S::load(group.alpha + i), S::load(group.beta + i)));
}

}  // namespace
}  // namespace octavo::cpu
