// Kept keys (spec/kept_keys.hpp): attention over a few keys of each row in f32, from Q, K and V as the caller gave
// them. The integer loop does not see them; the epilogue joins both parts. Per query block the keys are gathered once:
// a span around the diagonal (near keys) and a list (first and heavy ones), K transposed [k_width][columns], V
// [columns][v_width].
//   T = softmax_scale log2(e) q . k (+ softcap, mask, ALiBi),  m = max T,  l = sum 2^(T - m),  O = sum 2^(T - m) v / l
#pragma once

#include "cpu/attention/float_tile.hpp"
#include "cpu/attention/row_group.hpp"
#include "cpu/attention/score_mod.hpp"
#include "cpu/operands/load_transform.hpp"
#include "cpu/operands/seen_keys.hpp"
#include "spec/kept_keys.hpp"

namespace octavo::cpu {
namespace {

inline constexpr std::int64_t kMostListed = spec::kMostKeptFirst + spec::kMostKeptHeavy;

// The kept keys' part of one row group: base 2, relative to the same offsets as the state in RowGroup.
struct KeptPart {
  alignas(64) float m[kGroupRows];
  alignas(64) float l[kGroupRows];
  const float* out;  // f32 [kGroupRows][v_width]
};

// The kept keys of one query block, gathered.
struct KeptBlock {
  spec::KeyRange span;        // keys of the near columns; they come first, whole strips
  std::int64_t span_columns;  // padded to the lanes
  std::int64_t listed;        // first and heavy keys behind them
  std::int64_t columns;       // all, padded
  std::int64_t keys[kMostListed];
  float *k, *v, *poison;  // [k_width][columns], [columns][v_width], [columns]: NaN where k or v is not finite
};

OCTAVO_INLINE spec::PositionMask position_mask(const Problem& problem, const Sequence& rows) {
  return {problem.causal, problem.window_left, problem.window_right, rows.q_rows, rows.k_rows};
}

// The keys of a query block with the largest value(j) (base 2; -infinity: no such key), by descending value, the lower
// one first among equals. Returns how many there are.
template <class Value>
OCTAVO_INLINE std::int64_t find_heaviest(spec::KeyRange candidates, std::int64_t most, std::int64_t* keys,
                                         const Value& value_of) {
  float found[spec::kMostKeptHeavy];
  std::int64_t count = 0;
  for (std::int64_t j = candidates.begin; j < candidates.end; ++j) {
    const float value = value_of(j);
    if (!(value > -__builtin_inff()) || (count == most && !(value > found[count - 1]))) continue;
    std::int64_t at = count < most ? count++ : most - 1;
    for (; at > 0 && value > found[at - 1]; --at) found[at] = found[at - 1], keys[at] = keys[at - 1];
    found[at] = value, keys[at] = j;
  }
  return count;
}

// One gathered key: a column of K^T's staging row, a row of V; zeros where no row may see it.
template <class S>
OCTAVO_INLINE void gather_key(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t key, bool seen,
                              float* k_row, float* v_row, float* poison) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  *poison = 0;
  if (!seen) {
    std::memset(k_row, 0, static_cast<std::size_t>(plan.k_width) * 4);
    std::memset(v_row, 0, static_cast<std::size_t>(plan.v_width) * 4);
    return;
  }
  const std::int64_t row = sequence_at(call, b)->rows.k_begin + key;
  load_row<S>(problem.k, problem.k.offset(b, kv_head, row), problem.head_dim, k_row);
  load_row<S>(problem.v, problem.v.offset(b, kv_head, row), problem.value_dim, v_row);
  // A value that is not finite would reach rows of weight 0, too: NaN becomes the score of the rows that see the key.
  const bool finite_v = row_range<S>(v_row, problem.value_dim).finite;
  if (!finite_v) std::memset(v_row, 0, static_cast<std::size_t>(plan.v_width) * 4);
  if (!finite_v || !row_range<S>(k_row, problem.head_dim).finite) *poison = __builtin_nanf("");
}

template <class S>
__attribute__((noinline)) KeptBlock gather_kept(const Call& call, std::byte* thread, std::int64_t b,
                                                std::int64_t kv_head, const spec::KeptKeys& kept,
                                                std::int64_t first_row, std::int64_t rows, const std::int64_t* heavy,
                                                std::int64_t heavies) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  const spec::PositionMask mask = position_mask(problem, sequence);
  const SeenKeys seen = seen_keys(call, b, kv_head);
  KeptBlock block{};
  // Ranges grow with the row; rows that see nothing may stand at either end.
  for (std::int64_t r = first_row; r < first_row + rows; ++r) {
    const spec::KeyRange near = spec::near_keys(kept, mask, r);
    if (near.begin == near.end) continue;
    if (block.span.end == 0) block.span.begin = near.begin / spec::kNearStrip * spec::kNearStrip;
    if (near.end > block.span.end) block.span.end = near.end;
  }
  const auto to_lanes = [](std::int64_t n) { return (n + S::kLanes - 1) / S::kLanes * S::kLanes; };
  block.span_columns = to_lanes(block.span.end - block.span.begin);
  for (std::int64_t j = 0; j < kept.first && j < sequence.k_rows; ++j) block.keys[block.listed++] = j;
  for (std::int64_t i = 0; i < heavies; ++i) block.keys[block.listed++] = heavy[i];
  block.columns = block.span_columns + to_lanes(block.listed);
  block.k = part<float>(thread, plan.thread.kept);
  block.v = block.k + plan.k_width * block.columns;
  block.poison = block.v + plan.v_width * block.columns;
  alignas(64) std::int32_t staged[S::kLanes * kMaxPadded];
  for (std::int64_t column = 0; column < block.columns; column += S::kLanes) {
    for (std::int64_t i = 0; i < S::kLanes; ++i) {
      const std::int64_t c = column + i, listed = c - block.span_columns;
      const std::int64_t key = listed < 0 ? block.span.begin + c : listed < block.listed ? block.keys[listed] : -1;
      const bool exists = key >= 0 && key < sequence.k_rows && (listed >= 0 || key < block.span.end);
      gather_key<S>(call, b, kv_head, key, exists && seen(key), reinterpret_cast<float*>(staged) + i * plan.k_width,
                    block.v + c * plan.v_width, block.poison + c);
    }
    for (std::int64_t d = 0; d < plan.k_width; d += S::kLanes)
      S::transpose(staged + d, plan.k_width, reinterpret_cast<std::int32_t*>(block.k + d * block.columns + column),
                   block.columns);
  }
  return block;
}

// The columns of one row group: a piece of the span and the list, side by side in the group's scores.
struct KeptColumns {
  std::int64_t from, span, all;  // first span column; how many of them; with the list
};

template <class S>
OCTAVO_INLINE KeptColumns columns_of_group(const KeptBlock& block, spec::KeyRange near) {
  if (near.begin >= near.end) return {0, 0, block.columns - block.span_columns};
  const std::int64_t from = (near.begin - block.span.begin) / S::kLanes * S::kLanes;
  const std::int64_t to = (near.end - block.span.begin + S::kLanes - 1) / S::kLanes * S::kLanes;
  return {from, to - from, to - from + block.columns - block.span_columns};
}

// Scores of one row in place: everything between the product and the softmax, then which keys are this row's.
template <class S>
OCTAVO_INLINE void modify_kept_row(const Call& call, const KeptBlock& block, const KeptColumns& columns,
                                   const RowBias& bias, const SeenKeys& seen, spec::KeyRange visible,
                                   spec::KeyRange near, float offset, float* t) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const auto nothing = S::set1(-__builtin_inff()), nan = S::set1(__builtin_nanf(""));
  for (std::int64_t c = 0; c < columns.all; c += S::kLanes) {
    // A product beyond f32 stays a number: -infinity is for hidden keys.
    auto x = S::mul(S::load(t + c), S::set1(plan.logit_scale));
    x = S::max(S::set1(-__FLT_MAX__), S::min(S::set1(__FLT_MAX__), x));
    if (problem.softcap > 0) x = soften<S>(x, S::set1(0.0f), static_cast<float>(problem.softcap));
    S::store(t + c, S::sub(x, S::set1(offset)));
  }
  const auto key_at = [&](std::int64_t c) __attribute__((always_inline)) {
    return c < columns.span ? block.span.begin + columns.from + c : block.keys[c - columns.span];
  };
  const std::int64_t used = columns.span + block.listed;
  const bool added = problem.mask.data != nullptr || bias.slope != 0;
  for (std::int64_t c = 0; c < columns.all; ++c) {
    const std::int64_t key = c < used ? key_at(c) : -1;
    const bool is_near = key >= near.begin && key < near.end;
    bool own = key >= visible.begin && key < visible.end && (c < columns.span ? is_near : !is_near) && seen(key);
    if (own && added) {
      float term = 0;
      fill_bias(bias, key, 1, key + 1, &term);
      own = term != -__builtin_inff();
      t[c] += term;
    }
    if (!own) t[c] = -__builtin_inff();
  }
  for (std::int64_t c = 0; c < columns.all; c += S::kLanes) {
    const std::int64_t column = c < columns.span ? columns.from + c : block.span_columns + c - columns.span;
    const auto x = S::load(t + c), poisoned = S::add(x, S::load(block.poison + column));
    // A caller's NaN becomes the one whose payload exp2 keeps.
    const auto value = S::select(S::equal(poisoned, poisoned), poisoned, nan);
    S::store(t + c, S::select(S::equal(x, nothing), nothing, value));
  }
}

// The kept part of rows first_row..first_row+group.rows-1.
template <class S>
__attribute__((noinline)) void attend_kept(const Call& call, std::byte* thread, std::int64_t b, std::int64_t head,
                                           const KeptBlock& block, const spec::KeptKeys& kept, std::int64_t first_row,
                                           const RowGroup& group, const float* smooth_k_logit_offset,
                                           KeptPart& result) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  const spec::PositionMask mask = position_mask(problem, sequence);
  const SeenKeys seen = seen_keys(call, b, problem.kv_head(head));
  const KeptColumns columns = columns_of_group<S>(block, group.near);
  const std::int64_t listed = columns.all - columns.span, ld = spec::most_kept_columns(spec::kMostKeptNear);
  float* q = part<float>(thread, plan.thread.rows);  // [kGroupRows][k_width]
  float* out = q + kGroupRows * plan.k_width;        // [kGroupRows][v_width]
  alignas(64) float t[kGroupRows * spec::most_kept_columns(spec::kMostKeptNear)];
  float q_poison[kGroupRows] = {};
  for (int i = 0; i < group.rows; ++i) {
    float* row = q + i * plan.k_width;
    load_row<S>(problem.q, problem.q.offset(b, head, sequence.q_begin + first_row + i), problem.head_dim, row);
    if (!row_range<S>(row, problem.head_dim).finite) q_poison[i] = __builtin_nanf("");
  }
  const std::int64_t depth = problem.head_dim;
  float_product<S>({q, plan.k_width, block.k + columns.from, block.columns, t, ld, depth, false}, group.rows,
                   columns.span);
  float_product<S>({q, plan.k_width, block.k + block.span_columns, block.columns, t + columns.span, ld, depth, false},
                   group.rows, listed);
  for (int i = 0; i < kGroupRows; ++i) result.m[i] = -__builtin_inff(), result.l[i] = 0;
  for (int i = 0; i < group.rows; ++i) {
    const spec::KeyRange visible = spec::visible_keys(mask, first_row + i);
    RowBias bias = bias_of_row(problem, sequence, b, head, first_row + i, visible);
    bias.mask_row_max = group.mask_row_max[i];
    float* row = t + i * ld;
    modify_kept_row<S>(call, block, columns, bias, seen, visible, spec::near_keys(kept, mask, first_row + i),
                       q_poison[i] + (problem.softcap > 0 ? 0.0f : smooth_k_logit_offset[i] * spec::kLog2E), row);
    auto best = S::set1(-__builtin_inff());
    for (std::int64_t c = 0; c < columns.all; c += S::kLanes) best = S::max(S::load(row + c), best);
    const float m = S::reduce_max(best);
    if (m == -__builtin_inff()) {  // no key, or nothing but NaN
      float sum = 0;
      for (std::int64_t c = 0; c < columns.all; ++c) sum += row[c] == row[c] ? 0.0f : row[c];
      result.l[i] = sum;
      for (std::int64_t c = 0; c < columns.all; ++c) row[c] = 0;
      continue;
    }
    auto sum = S::set1(0.0f);
    const auto shift = S::set1(m), nothing = S::set1(-__builtin_inff());
    for (std::int64_t c = 0; c < columns.all; c += S::kLanes) {
      const auto x = S::load(row + c);
      const auto weight = S::select(S::equal(x, nothing), S::set1(0.0f), exp2_quintic<S>(S::sub(x, shift)));
      S::store(row + c, weight);
      sum = S::add(sum, weight);
    }
    result.m[i] = m;
    result.l[i] = S::reduce_add(sum);
    // Divided before the product with V: sums of values near f32's end stay finite.
    const auto share = S::set1(1.0f / result.l[i]);
    for (std::int64_t c = 0; c < columns.all; c += S::kLanes) S::store(row + c, S::mul(S::load(row + c), share));
  }
  float_product<S>({t, ld, block.v + columns.from * plan.v_width, plan.v_width, out, plan.v_width, columns.span, false},
                   group.rows, plan.v_width);
  float_product<S>({t + columns.span, ld, block.v + block.span_columns * plan.v_width, plan.v_width, out, plan.v_width,
                    listed, true},
                   group.rows, plan.v_width);
  result.out = out;
}

}  // namespace
}  // namespace octavo::cpu
