// merge_state() on the CPU: rows of two states (spec/merge.hpp).
#pragma once

#include "core/problem.hpp"
#include "cpu/operands/load.hpp"
#include "spec/merge.hpp"

namespace octavo::cpu {
namespace {

OCTAVO_INLINE float* lse_at(const MergeProblem::Part& part, std::int64_t b, std::int64_t head, std::int64_t row) {
  return part.lse + (b * part.lse_strides[0] + head * part.lse_strides[1] + row * part.lse_strides[2]);
}

// Rows first..last-1 of a head. `out` may be the memory of `a` or of `b`.
template <class S>
void merge_rows(const MergeProblem& merge, std::int64_t b, std::int64_t head, std::int64_t first, std::int64_t last) {
  alignas(64) float from_a[kMaxPadded], from_b[kMaxPadded];
  for (std::int64_t row = first; row < last; ++row) {
    const spec::MergeWeights weights =
        spec::merge_weights(*lse_at(merge.a, b, head, row), *lse_at(merge.b, b, head, row));
    load_row<S>(merge.a.o, merge.a.o.offset(b, head, row), merge.dim, from_a);
    load_row<S>(merge.b.o, merge.b.o.offset(b, head, row), merge.dim, from_b);
    for (std::int64_t d = 0; d < merge.dim; d += S::kLanes)
      S::store(from_a + d, spec::merge_channels<S>(weights, S::load(from_a + d), S::load(from_b + d)));
    store_row<S>(merge.out.o, merge.out.o.offset(b, head, row), merge.dim, from_a);
    *lse_at(merge.out, b, head, row) = weights.lse;
  }
}

}  // namespace
}  // namespace octavo::cpu
