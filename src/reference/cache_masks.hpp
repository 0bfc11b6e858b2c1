// What masks and ALiBi add to the scores of a query row over a key-value cache, in natural units.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

#include "core/cache_problem.hpp"
#include "reference/operand.hpp"
#include "spec/visibility.hpp"

namespace octavo::reference {

struct CacheTerms {
  std::vector<double> of_key;  // [keys]; -infinity: hidden
  double common = 0;           // the largest finite term of the mask, taken off all of them
};

inline CacheTerms cache_terms(const CacheAttentionProblem& p, std::int64_t i, std::int64_t q_head, std::int64_t row,
                              spec::KeyRange seen) {
  constexpr double kHidden = -std::numeric_limits<double>::infinity();
  const CacheSequence& entry = p.entries[i];
  CacheTerms terms;
  terms.of_key.assign(static_cast<std::size_t>(entry.keys), kHidden);
  double common = kHidden;
  for (std::int64_t key = seen.begin; key < seen.end; ++key) {
    if (p.hides(i, row, key)) continue;
    double term = 0;
    if (p.mask.data != nullptr) {
      const auto& strides = p.mask.strides;
      term = read_element(p.mask.data, p.mask.dtype,
                          i * strides[0] + q_head * strides[1] + row * strides[2] + key * strides[3]);
      if (p.mask.dtype == DType::boolean) term = term == 0 ? kHidden : 0;
      // A number, never -infinity, in base 2 and f32.
      if (std::isfinite(term)) term = std::max(term, -static_cast<double>(FLT_MAX) * std::numbers::ln2);
    }
    if (std::isfinite(term)) common = std::max(common, term);
    terms.of_key[static_cast<std::size_t>(key)] = term;
  }
  if (common != kHidden) terms.common = common;
  const Broadcast& slopes = p.alibi_slopes;
  const double slope = slopes.data == nullptr ? 0.0
                                              : read_element(slopes.data, slopes.dtype,
                                                             i * slopes.strides[0] + q_head * slopes.strides[1]);
  const std::int64_t centre = spec::diagonal(p.causal, entry.q_rows, entry.keys, row);
  for (std::int64_t key = seen.begin; key < seen.end; ++key) {
    const auto distance = static_cast<double>(key - centre);
    double& term = terms.of_key[static_cast<std::size_t>(key)];
    if (term == kHidden) continue;
    term -= terms.common;
    if (slopes.data != nullptr) term += slope * (p.alibi == Alibi::symmetric ? -std::abs(distance) : distance);
  }
  return terms;
}

}  // namespace octavo::reference
