// What 16 query rows carry from key block to key block: the online softmax's running maximum and sum, the factors of
// the present block, and which keys the rows see. The law is in prefill.hpp.
#pragma once

#include "cpu/kernels/exp2.hpp"
#include "cpu/kernels/stages.hpp"
#include "cpu/plan.hpp"
#include "spec/visibility.hpp"

namespace octavo::cpu {
namespace {

inline constexpr std::int64_t kSlotGroups = kQueryBlock / kGroupRows;

struct RowGroup {
  alignas(64) float m[kGroupRows];
  alignas(64) float l[kGroupRows];
  alignas(64) float alpha[kGroupRows];  // of the current key block
  alignas(64) float beta[kGroupRows];
  bool rescale;              // some alpha is not 1
  int rows;                  // used ones
  float common[kGroupRows];  // what every term of the row's mask loses
  float owed[kGroupRows];    // what the row's scores lost by that and by ALiBi's peak
  std::int64_t keys;         // of the current key block that any of its rows sees, from the block's start
  spec::KeyRange seen;       // by any of its rows
  spec::KeyRange seen_by_all;
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

// The state's step: maxima of the block -> shift of the weights, alpha, beta. Where the codes do not depend on m, it
// need not be the maximum itself (`offset` is what the row's scores and their maximum stand apart from T): it stays
// until a block rises kStaleLogits above it, so that O is hardly ever rescaled.
template <class S>
OCTAVO_INLINE void advance(const Plan& plan, const float* row_max, const float* offset, RowGroup& group, float* shift) {
  const auto nothing = S::set1(-__builtin_inff()), zero = S::set1(0.0f), one = S::set1(1.0f);
  const auto range = S::set1(plan.log2_p_range);
  const auto slack = S::set1(plan.running_maximum ? 0.0f : kStaleLogits);
  bool rescale = false;
  for (int i = 0; i < kGroupRows; i += S::kLanes) {
    const auto apart = S::load(offset + i);
    const auto t = S::add(S::load(row_max + i), apart), m = S::load(group.m + i);
    const auto next = S::select(S::less(S::add(m, slack), t), t, m);
    // A row that has seen nothing yet: any finite reference will do, its sums are zero.
    const auto reference = S::select(S::equal(next, nothing), zero, next);
    const auto block = plan.running_maximum ? reference : S::select(S::equal(t, nothing), zero, t);
    // The shift is in terms of the scores at hand, the largest of which it meets exactly: t may have lost digits to
    // `apart`. What it differs by from t's own shift goes into beta.
    const auto largest = S::load(row_max + i), of_t = S::sub(block, apart);
    const auto own = S::select(S::equal(largest, nothing), zero, largest);
    const auto used = plan.running_maximum ? S::select(S::equal(next, t), own, S::max(of_t, own)) : own;
    S::store(shift + i, used);
    const auto alpha = S::select(S::equal(m, next), one, exp2_quintic<S>(S::sub(m, reference)));
    rescale = rescale || !S::all(S::equal(alpha, one));
    S::store(group.alpha + i, alpha);
    // What a hidden row gathered in this block is nothing.
    const auto scale = exp2_quintic<S>(S::sub(S::add(S::sub(block, reference), S::sub(used, of_t)), range));
    const auto beta = S::select(S::equal(t, nothing), zero, scale);
    S::store(group.beta + i, beta);
    S::store(group.m + i, next);
  }
  group.rescale = rescale;
}

template <class S>
OCTAVO_INLINE void add_row_sums(RowGroup& group, const float* row_sum) {
  for (int i = 0; i < kGroupRows; i += S::kLanes) {
    const auto kept = S::mul(S::load(group.l + i), S::load(group.alpha + i));
    S::store(group.l + i, S::fma(S::load(row_sum + i), S::load(group.beta + i), kept));
  }
}

}  // namespace
}  // namespace octavo::cpu
