// States of attention over a key-value cache and their end. A state holds for each row of a chunk the maximum m, the
// row sum l and the sums O of V's rows, relative to m (base 2), O times kCacheOutputUnit:
//   m' = max(m, m_s),  l = l 2^(m - m') + l_s 2^(m_s - m'),  O likewise
#pragma once

#include <numbers>

#include "cpu/attention/decode_queries.hpp"
#include "cpu/operands/load_transform.hpp"
#include "spec/epilogue.hpp"

namespace octavo::cpu {
namespace {

OCTAVO_INLINE void start_state(const CachePlan& plan, std::int64_t rows, float* state) {
  for (std::int64_t r = 0; r < rows; ++r) state[r] = -__builtin_inff(), state[plan.chunk_rows + r] = 0;
  float* const sums = state + 2 * plan.chunk_rows;
  for (std::int64_t i = 0; i < rows * plan.problem->cache.v_columns; ++i) sums[i] = 0;
}

// `state` joins `sums`.
template <class S>
void fold_state(const CachePlan& plan, std::int64_t rows, const float* state, float* sums) {
  const std::int64_t columns = plan.problem->cache.v_columns, chunk_rows = plan.chunk_rows;
  for (std::int64_t r = 0; r < rows; ++r) {
    float& m = sums[r];
    float& l = sums[chunk_rows + r];
    const float of_state = state[chunk_rows + r];
    if (state[r] == -__builtin_inff()) {  // no key, or nothing but NaN
      if (of_state != of_state) l = of_state;
      continue;
    }
    const float next = state[r] > m ? state[r] : m;
    const float a = m == -__builtin_inff() ? 0.0f : __builtin_exp2f(m - next), b = __builtin_exp2f(state[r] - next);
    m = next;
    l = l * a + of_state * b;
    float* const to = sums + 2 * chunk_rows + r * columns;
    const float* const from = state + 2 * chunk_rows + r * columns;
    for (std::int64_t d = 0; d < columns; d += S::kLanes)
      S::store(to + d, S::fma(S::set1(b), S::load(from + d), S::mul(S::set1(a), S::load(to + d))));
  }
}

// The sink, O / l rotated back, and the LSE of every row.
template <class S>
void finish_rows(const CacheCall& call, const CacheTask& task, const DecodeQueries& q, const float* sums) {
  const CachePlan& plan = *call.plan;
  const CacheAttentionProblem& p = *plan.problem;
  const CacheView& cache = p.cache;
  alignas(64) std::int32_t signs[kMaxPadded];
  if (cache.rotated()) rotation_signs(signs, cache.value_dim);
  for (std::int64_t r = 0; r < q.rows; ++r) {
    const float m = sums[r], l = sums[plan.chunk_rows + r];
    const std::int64_t row = p.entries[task.entry].q_begin + (q.first + r) / p.group();
    const std::int64_t head = query_head(p, task.kv_head, q.first + r);
    const float sink = p.sinks.data == nullptr
                           ? -__builtin_inff()
                           : read_number(p.sinks, task.entry * p.sinks.strides[0] + head * p.sinks.strides[1]);
    const float constant = p.softcap > 0 ? 0.0f : q.constant[r];  // with softcap it was added before the tanh
    const double offset = static_cast<double>(q.lse_offset[r]);
    const double sink_logit =
        (static_cast<double>(sink) - static_cast<double>(constant)) * std::numbers::log2e - offset;
    const spec::RowEnd end = spec::end_of_row<EpilogueOps<S>>(m, l, sink, sink_logit);
    // In two steps: 1 / unit beside a small factor must not lose the sums' digits.
    const auto by = S::set1(end.sees ? end.factor / end.sum : 0.0f), unit = S::set1(1.0f / spec::kCacheOutputUnit);
    alignas(64) float out[kMaxPadded] = {};
    const float* const from = sums + 2 * plan.chunk_rows + r * cache.v_columns;
    for (std::int64_t d = 0; end.sees && d < cache.v_columns; d += S::kLanes)
      S::store(out + d, S::mul(S::mul(S::load(from + d), by), unit));
    if (cache.rotated() && end.sees) rotate_row_back<S>(out, signs, cache.value_dim);
    store_row<S>(p.out, p.out.offset(task.entry, head, row), cache.value_dim, out);
    if (p.lse == nullptr) continue;
    const double max_lse = (static_cast<double>(m) + offset) * std::numbers::ln2 + static_cast<double>(constant);
    p.lse[task.entry * p.lse_strides[0] + head * p.lse_strides[1] + row * p.lse_strides[2]] =
        spec::lse_of_row<EpilogueOps<S>>(end, sink, max_lse);
  }
}

}  // namespace
}  // namespace octavo::cpu
