// Visibility by position: causal diagonals, windows and lengths.
#pragma once

#include <cstdint>

#include "core/problem.hpp"
#include "cpu/simd/policy.hpp"
#include "spec/visibility.hpp"

namespace octavo::cpu {
namespace {

// Sets the scores of keys outside each row's range to -infinity and recomputes the maxima. Needed for blocks on a
// diagonal or at the edge of a window.
template <class S>
OCTAVO_INLINE void mask_by_position(const Problem& problem, const Sequence& sequence, std::int64_t row, int rows,
                                    std::int64_t first_key, std::int64_t keys, std::int64_t ld, float* scores,
                                    float* row_max) {
  for (int i = 0; i < rows; ++i) {
    const spec::KeyRange seen = spec::visible_keys(problem.causal, problem.window_left, problem.window_right,
                                                   sequence.q_rows, sequence.k_rows, row + i);
    const auto begin = S::set1(static_cast<float>(seen.begin - first_key > -1 ? seen.begin - first_key : -1));
    const auto end = S::set1(static_cast<float>(seen.end - first_key < keys ? seen.end - first_key : keys));
    auto best = S::set1(-__builtin_inff());
    for (std::int64_t j = 0; j < keys; j += S::kLanes) {
      const auto index = S::add(S::lane_index(), S::set1(static_cast<float>(j)));
      auto x = S::load(scores + i * ld + j);
      x = S::select(S::less(index, end), S::select(S::less(index, begin), S::set1(-__builtin_inff()), x),
                    S::set1(-__builtin_inff()));
      S::store(scores + i * ld + j, x);
      best = S::max(x, best);
    }
    row_max[i] = S::reduce_max(best);
  }
}

}  // namespace
}  // namespace octavo::cpu
