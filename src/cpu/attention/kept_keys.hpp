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
  float* out;  // f32 [kGroupRows][v_width]
};

// The kept keys of one query block, gathered.
struct KeptBlock {
  spec::KeyRange span;        // keys of the near columns; they come first, whole strips
  std::int64_t span_columns;  // padded to the lanes
  std::int64_t listed;        // first and heavy keys behind them
  std::int64_t columns;       // all, padded
  std::int64_t keys[kMostListed];
  float *k, *v;  // [k_width][columns], [columns][v_width]
  float* hide;   // [columns]: -infinity where there is no key or no row may see it, NaN where k or v is not finite
};

OCTAVO_INLINE spec::PositionMask position_mask(const Problem& problem, const Sequence& rows) {
  return {problem.causal, problem.window_left, problem.window_right, rows.q_rows, rows.k_rows};
}

// The keys of a query block with the largest value(j) (base 2; -infinity: no such key), by descending value, the lower
// one first among equals. Returns how many there are. `values`: all values by key, if they lie in memory.
template <class S, class Value>
OCTAVO_INLINE std::int64_t find_heaviest(spec::KeyRange candidates, std::int64_t most, std::int64_t* keys,
                                         const float* values, const Value& value_of) {
  float found[spec::kMostKeptHeavy];
  std::int64_t count = 0;
  for (std::int64_t from = candidates.begin; from < candidates.end; from += S::kLanes) {
    const std::int64_t to = from + S::kLanes < candidates.end ? from + S::kLanes : candidates.end;
    if (values != nullptr && count == most && most > 0 && to - from == S::kLanes) {
      const auto least = S::set1(found[most - 1]);
      if (S::all(S::equal(S::max(S::load(values + from), least), least))) continue;
    }
    for (std::int64_t j = from; j < to; ++j) {
      const float value = values != nullptr ? values[j] : value_of(j);
      if (!(value > -__builtin_inff()) || (count == most && !(most > 0 && value > found[most - 1]))) continue;
      std::int64_t at = count < most ? count++ : most - 1;
      for (; at > 0 && value > found[at - 1]; --at) found[at] = found[at - 1], keys[at] = keys[at - 1];
      found[at] = value, keys[at] = j;
    }
  }
  return count;
}

// to[0..padded(dim)) = the row at element offset `at` of `x`, then zeros; returns whether all of it is finite.
template <class S>
OCTAVO_INLINE bool load_finite_row(const Operand& x, std::int64_t at, std::int64_t dim, float* to) {
  const auto zero = S::set1(0.0f);
  typename S::f32 poison[2] = {zero, zero};  // 0, or NaN where a value is not finite
  const bool loaded = with_register_rows<S>(x, dim, [&](auto vectors) __attribute__((always_inline)) {
    constexpr int kVectors = decltype(vectors)::value;
    typename S::f32 v[kVectors];
    load_rotated<S, kVectors>(x, at, nullptr, v);
#pragma GCC unroll 64
    for (int i = 0; i < kVectors; ++i) poison[i % 2] = S::fma(v[i], zero, poison[i % 2]);
    store_vectors<S, kVectors>(v, to);
  });
  if (!loaded) {
    load_row<S>(x, at, dim, to);
    for (std::int64_t d = 0; d < dim; d += S::kLanes) poison[0] = S::fma(S::load(to + d), zero, poison[0]);
  }
  return S::all(S::is_finite(S::add(poison[0], poison[1])));
}

template <class S>
OCTAVO_INLINE std::int64_t in_lanes(std::int64_t n) {
  return (n + S::kLanes - 1) / S::kLanes * S::kLanes;
}

// One gathered key: a row of K's staging memory, a row of V; zeros where no row may see it. Returns what hides it.
template <class S>
OCTAVO_INLINE float gather_key(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t key, bool seen,
                               float* k_row, float* v_row) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  if (!seen) {
    std::memset(k_row, 0, static_cast<std::size_t>(plan.k_width) * 4);
    std::memset(v_row, 0, static_cast<std::size_t>(plan.v_width) * 4);
    return -__builtin_inff();
  }
  const std::int64_t row = sequence_at(call, b)->rows.k_begin + key;
  const bool finite_k = load_finite_row<S>(problem.k, problem.k.offset(b, kv_head, row), problem.head_dim, k_row);
  const bool finite_v = load_finite_row<S>(problem.v, problem.v.offset(b, kv_head, row), problem.value_dim, v_row);
  // A value that is not finite would reach rows of weight 0, too: NaN becomes the score of the rows that see the key.
  if (!finite_v) std::memset(v_row, 0, static_cast<std::size_t>(plan.v_width) * 4);
  return finite_k && finite_v ? 0.0f : __builtin_nanf("");
}

// Keys that are near for some of the rows. Ranges grow with the row; rows that see nothing may stand at either end.
OCTAVO_INLINE spec::KeyRange near_keys_of_rows(const spec::KeptKeys& kept, const spec::PositionMask& mask,
                                               std::int64_t first, std::int64_t last) {
  spec::KeyRange top{0, 0}, bottom{0, 0};
  for (; first < last && top.begin == top.end; ++first) top = spec::near_keys(kept, mask, first);
  bottom = top;
  for (std::int64_t row = last - 1; row >= first; --row) {
    bottom = spec::near_keys(kept, mask, row);
    if (bottom.begin != bottom.end) break;
    bottom = top;
  }
  return {top.begin, bottom.end > top.end ? bottom.end : top.end};
}

// The kept keys of query rows first_row..first_row+rows-1.
template <class S>
__attribute__((noinline)) KeptBlock gather_kept(const Call& call, std::byte* thread, std::int64_t b,
                                                std::int64_t kv_head, const spec::KeptKeys& kept,
                                                std::int64_t first_row, std::int64_t rows, const std::int64_t* heavy,
                                                std::int64_t heavies) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  const SeenKeys seen = seen_keys(call, b, kv_head);
  KeptBlock block{};
  block.span = near_keys_of_rows(kept, position_mask(problem, sequence), first_row, first_row + rows);
  block.span.begin = block.span.begin / spec::kNearStrip * spec::kNearStrip;
  block.span_columns = in_lanes<S>(block.span.end - block.span.begin);
  for (std::int64_t j = 0; j < kept.first && j < sequence.k_rows; ++j) block.keys[block.listed++] = j;
  for (std::int64_t i = 0; i < heavies; ++i) block.keys[block.listed++] = heavy[i];
  block.columns = block.span_columns + in_lanes<S>(block.listed);
  block.k = part<float>(thread, plan.thread.kept);
  block.v = block.k + plan.k_width * block.columns;
  block.hide = block.v + plan.v_width * block.columns;
  alignas(64) std::int32_t staged[S::kLanes * kMaxPadded];
  const std::int64_t depth = in_lanes<S>(problem.head_dim);
  for (std::int64_t column = 0; column < block.columns; column += S::kLanes) {
    for (std::int64_t i = 0; i < S::kLanes; ++i) {
      const std::int64_t c = column + i, listed = c - block.span_columns;
      const std::int64_t key = listed < 0 ? block.span.begin + c : listed < block.listed ? block.keys[listed] : -1;
      const bool exists = key >= 0 && key < sequence.k_rows && (listed >= 0 || key < block.span.end);
      block.hide[c] = gather_key<S>(call, b, kv_head, key, exists && seen(key),
                                    reinterpret_cast<float*>(staged) + i * plan.k_width, block.v + c * plan.v_width);
    }
    for (std::int64_t d = 0; d < depth; d += S::kLanes)
      S::transpose(staged + d, plan.k_width, reinterpret_cast<std::int32_t*>(block.k + d * block.columns + column),
                   block.columns);
  }
  return block;
}

// The columns of one row group: a piece of the span and the list, side by side in the group's scores.
struct KeptColumns {
  std::int64_t from, span, all;  // first span column; how many of them; with the list
  std::int64_t listed;           // keys of the list
  // What hides a column from every row of the group, whether nothing does in a vector, and which listed keys have to be
  // looked at row by row.
  alignas(64) float hide[spec::most_kept_columns(spec::kMostKeptNear)];
  bool shown[spec::most_kept_columns(spec::kMostKeptNear)];  // by vector
  std::int64_t uncertain[kMostListed], uncertain_count;
};

template <class S>
OCTAVO_INLINE void find_columns(const KeptBlock& block, const RowGroup& group, KeptColumns& columns) {
  columns.from = columns.span = 0;
  if (group.near.begin < group.near.end) {
    columns.from = (group.near.begin - block.span.begin) / S::kLanes * S::kLanes;
    columns.span = in_lanes<S>(group.near.end - block.span.begin) - columns.from;
  }
  columns.all = columns.span + block.columns - block.span_columns;
  columns.listed = block.listed;
  for (std::int64_t c = 0; c < columns.span; c += S::kLanes)
    S::store(columns.hide + c, S::load(block.hide + columns.from + c));
  for (std::int64_t c = columns.span; c < columns.all; c += S::kLanes)
    S::store(columns.hide + c, S::load(block.hide + block.span_columns + c - columns.span));
  for (std::int64_t c = 0; c < columns.all; c += S::kLanes)
    columns.shown[c / S::kLanes] = S::all(S::equal(S::load(columns.hide + c), S::set1(0.0f)));
  columns.uncertain_count = 0;
  for (std::int64_t i = 0; i < block.listed; ++i) {
    const std::int64_t key = block.keys[i];
    const bool own = key >= group.seen_by_all.begin && key < group.seen_by_all.end &&
                     (key < group.near.begin || key >= group.near.end);
    if (!own) columns.uncertain[columns.uncertain_count++] = i;
  }
}

// Scores of one row in place: everything between the product and the softmax, then which keys are this row's. Returns
// the largest ones that are numbers, by lane.
template <class S>
OCTAVO_INLINE typename S::f32 modify_kept_row(const Plan& plan, const KeptBlock& block, const KeptColumns& columns,
                                              const RowBias& bias, spec::KeyRange visible, spec::KeyRange near,
                                              float offset, float* t) {
  const Problem& problem = *plan.problem;
  const auto nothing = S::set1(-__builtin_inff()), nan = S::set1(__builtin_nanf(""));
  const std::int64_t first_key = block.span.begin + columns.from;
  const std::int64_t first = near.begin - first_key, last = near.end - first_key;
  const auto begin = S::set1(static_cast<float>(first)), end = S::set1(static_cast<float>(last));
  auto best = nothing;
  for (std::int64_t c = 0; c < columns.all; c += S::kLanes) {
    // A product beyond f32 stays a number: -infinity is for hidden keys.
    auto x = S::mul(S::load(t + c), S::set1(plan.logit_scale));
    x = S::max(S::set1(-__FLT_MAX__), S::min(S::set1(__FLT_MAX__), x));
    if (problem.softcap > 0) x = soften<S>(x, S::set1(0.0f), static_cast<float>(problem.softcap));
    x = S::sub(x, S::set1(offset));
    if (columns.shown[c / S::kLanes]) {
      x = S::select(S::equal(x, x), x, nan);  // a caller's NaN becomes the one whose payload exp2 keeps
    } else {
      const auto hide = S::load(columns.hide + c);
      x = S::add(x, S::select(S::equal(hide, nothing), S::set1(0.0f), hide));
      x = S::select(S::equal(hide, nothing), nothing, S::select(S::equal(x, x), x, nan));
    }
    if (c < columns.span && (c < first || c + S::kLanes > last)) {
      const auto index = S::add(S::lane_index(), S::set1(static_cast<float>(c)));
      x = S::select(S::less(index, end), S::select(S::less(index, begin), nothing, x), nothing);
    }
    S::store(t + c, x);
    best = S::max(x, best);
  }
  const bool added = problem.mask.data != nullptr || bias.slope != 0;
  if (columns.uncertain_count == 0 && !added) return best;
  for (std::int64_t i = 0; i < columns.uncertain_count; ++i) {
    const std::int64_t listed = columns.uncertain[i], key = block.keys[listed];
    const bool own = key >= visible.begin && key < visible.end && (key < near.begin || key >= near.end);
    if (!own) t[columns.span + listed] = -__builtin_inff();
  }
  const std::int64_t used = columns.span + columns.listed;
  for (std::int64_t c = 0; added && c < used; ++c) {
    if (t[c] == -__builtin_inff()) continue;
    const std::int64_t key = c < columns.span ? first_key + c : block.keys[c - columns.span];
    float term = 0;
    fill_bias(bias, key, 1, key + 1, &term);
    const float sum = t[c] + term;
    t[c] = term == -__builtin_inff() ? term : sum == sum ? sum : __builtin_nanf("");
  }
  best = nothing;
  for (std::int64_t c = 0; c < columns.all; c += S::kLanes) best = S::max(S::load(t + c), best);
  return best;
}

// Scores of a row -> weights; their sum, by lane.
template <class S>
OCTAVO_INLINE typename S::f32 weights_of_kept_row(float m, std::int64_t columns, float* t) {
  auto sum = S::set1(0.0f);
  if (m == -__builtin_inff()) {  // no key, or nothing but NaN
    for (std::int64_t c = 0; c < columns; c += S::kLanes) {
      const auto x = S::load(t + c);
      sum = S::add(sum, S::select(S::equal(x, x), S::set1(0.0f), x));
      S::store(t + c, S::set1(0.0f));
    }
    return sum;
  }
  constexpr int kTerms = sizeof(S::Exp2::kQuintic) / sizeof(float);
  typename S::f32 terms[kTerms];
  for (int i = 0; i < kTerms; ++i) terms[i] = S::set1(S::Exp2::kQuintic[i]);
  const auto shift = S::set1(m), least = S::set1(-126.0f);
  for (std::int64_t c = 0; c < columns; c += S::kLanes) {
    typename S::f32 weight[1] = {S::sub(S::load(t + c), shift)};
    exp2_from<S>(weight, least, terms);
    S::store(t + c, weight[0]);
    sum = S::add(sum, weight[0]);
  }
  return sum;
}

// Weights of a group's rows -> shares of their softmax. Divided before the product with V: sums of values near f32's
// end stay finite.
template <class S>
OCTAVO_INLINE void shares_of_kept_rows(const KeptPart& result, int rows, std::int64_t columns, std::int64_t ld,
                                       float* t) {
  const auto one = S::set1(1.0f), nothing = S::set1(-__builtin_inff());
  alignas(64) float share[kGroupRows];
  for (int i = 0; i < kGroupRows; i += S::kLanes) {
    const auto none = S::equal(S::load(result.m + i), nothing);
    S::store(share + i, S::div(one, S::select(none, one, S::load(result.l + i))));
  }
  for (int i = 0; i < rows; ++i)
    for (std::int64_t c = 0; c < columns; c += S::kLanes)
      S::store(t + i * ld + c, S::mul(S::load(t + i * ld + c), S::set1(share[i])));
}

// The kept part of rows first_row..first_row+group.rows-1. `smooth_k_logit_offset`: what smoothing K took from each
// row's scores; null: nothing.
template <class S>
__attribute__((noinline)) void attend_kept(const Call& call, std::byte* thread, std::int64_t b, std::int64_t head,
                                           const KeptBlock& block, const spec::KeptKeys& kept, std::int64_t first_row,
                                           const RowGroup& group, const float* smooth_k_logit_offset,
                                           KeptPart& result) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence sequence = sequence_at(call, b)->rows;
  const spec::PositionMask mask = position_mask(problem, sequence);
  constexpr std::int64_t kLd = spec::most_kept_columns(spec::kMostKeptNear);
  KeptColumns columns;
  find_columns<S>(block, group, columns);
  float* q = part<float>(thread, plan.thread.rows);  // [kGroupRows][k_width]
  float* out = q + kGroupRows * plan.k_width;        // [kGroupRows][v_width]
  alignas(64) float t[kGroupRows * kLd];
  float q_poison[kGroupRows] = {};
  for (int i = 0; i < group.rows; ++i) {
    float* row = q + i * plan.k_width;
    const std::int64_t at = problem.q.offset(b, head, sequence.q_begin + first_row + i);
    if (!load_finite_row<S>(problem.q, at, problem.head_dim, row)) q_poison[i] = __builtin_nanf("");
  }
  const FloatDepth no_depth{q, block.k, 0};
  const FloatDepth with_span{q, block.k + columns.from, problem.head_dim};
  const FloatDepth with_list{q, block.k + block.span_columns, problem.head_dim};
  float_product<S>({{with_span, no_depth}, plan.k_width, block.columns, t, kLd}, group.rows, columns.span);
  float_product<S>({{with_list, no_depth}, plan.k_width, block.columns, t + columns.span, kLd}, group.rows,
                   columns.all - columns.span);
  // The rows' maxima, then their sums, a vector each: one reduction for all rows.
  alignas(64) float of_rows[kGroupRows * S::kLanes];
  const auto reduced = [&](auto reduce, float unused, float* to, auto of_row) __attribute__((always_inline)) {
    for (int i = 0; i < kGroupRows; ++i)
      S::store(of_rows + i * S::kLanes, i < group.rows ? of_row(i) : S::set1(unused));
    for (int i = 0; i < kGroupRows; i += S::kLanes) S::store(to + i, reduce(of_rows + i * S::kLanes));
  };
  const bool has_offset = smooth_k_logit_offset != nullptr && problem.softcap == 0;
  const auto modify = [&](int i) __attribute__((always_inline)) {
    const spec::KeyRange visible = spec::visible_keys(mask, first_row + i);
    RowBias bias = bias_of_row(problem, sequence, b, head, first_row + i, visible);
    bias.mask_row_max = group.mask_row_max[i];
    const float offset = q_poison[i] + (has_offset ? smooth_k_logit_offset[i] * spec::kLog2E : 0.0f);
    return modify_kept_row<S>(plan, block, columns, bias, visible, spec::near_keys(kept, mask, first_row + i), offset,
                              t + i * kLd);
  };
  const auto weigh = [&](int i) __attribute__((always_inline)) {
    return weights_of_kept_row<S>(result.m[i], columns.all, t + i * kLd);
  };
  reduced([](const float* x) __attribute__((always_inline)) { return S::row_max(x); }, -__builtin_inff(), result.m,
          modify);
  reduced([](const float* x) __attribute__((always_inline)) { return S::row_sum(x); }, 0.0f, result.l, weigh);
  shares_of_kept_rows<S>(result, group.rows, columns.all, kLd, t);
  const FloatDepth of_span{t, block.v + columns.from * plan.v_width, columns.span};
  const FloatDepth of_list{t + columns.span, block.v + block.span_columns * plan.v_width, columns.all - columns.span};
  float_product<S>({{of_span, of_list}, kLd, plan.v_width, out, plan.v_width}, group.rows, plan.v_columns);
  result.out = out;
}

}  // namespace
}  // namespace octavo::cpu
