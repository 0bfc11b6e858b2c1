// What masks and ALiBi add to the scores of attention over a key-value cache, and which keys masks hide. Base 2.
#pragma once

#include "cpu/attention/score_mod.hpp"
#include "cpu/operands/cache_plan.hpp"

namespace octavo::cpu {
namespace {

// Whether a mask or ALiBi changes a score among keys first..last-1 of an entry.
OCTAVO_INLINE bool has_terms(const CacheAttentionProblem& p, std::int64_t entry, std::int64_t last) {
  if (p.mask.data != nullptr || p.alibi_slopes.data != nullptr || p.key_mask.data != nullptr) return true;
  return p.tree_mask.data != nullptr && last > p.entries[entry].keys - p.entries[entry].q_rows;
}

// Terms of keys first..first+keys-1 of a query row; -infinity: hidden, or no key.
OCTAVO_INLINE void fill_terms(const CacheAttentionProblem& p, const RowBias& bias, std::int64_t entry, std::int64_t row,
                              std::int64_t first, std::int64_t keys, float* terms) {
  const std::int64_t end = p.entries[entry].keys, drafts = end - p.entries[entry].q_rows;
  fill_bias(bias, first, keys, end, terms);
  if (p.key_mask.data == nullptr && p.tree_mask.data == nullptr) return;
  const std::int64_t masked = p.key_mask.data != nullptr || drafts < first ? first : drafts;
  for (std::int64_t key = masked; key < first + keys && key < end; ++key)
    if (p.hides(entry, row, key)) terms[key - first] = -__builtin_inff();
}

// The sources of a row's terms. The mask's largest finite term is taken off, as score_mod.hpp has it.
template <class S>
OCTAVO_INLINE void find_terms(const CachePlan& plan, const CacheTask& task, std::int64_t head, std::int64_t row,
                              spec::KeyRange seen, RowBias& bias, float& lse_offset) {
  const CacheAttentionProblem& p = *plan.problem;
  const CacheSequence& entry = p.entries[task.entry];
  lse_offset = 0;
  if (!p.has_masks()) return;
  bias = bias_of_row(plan.terms, {entry.q_begin, entry.q_rows, 0, entry.keys}, task.entry, head, row, seen);
  if (p.mask.data != nullptr && p.mask.dtype != DType::boolean) {
    constexpr std::int64_t kKeys = 256;
    alignas(64) float terms[kKeys];
    const RowBias of_mask{&plan.terms, bias.mask_at};
    const auto nothing = S::set1(-__builtin_inff());
    auto best = nothing;
    for (std::int64_t first = seen.begin; first < seen.end; first += kKeys) {
      fill_terms(p, of_mask, task.entry, row, first, kKeys, terms);
      for (std::int64_t j = seen.end - first; j < kKeys; ++j) terms[j] = -__builtin_inff();
      for (std::int64_t j = 0; j < kKeys; j += S::kLanes) {
        const auto x = S::load(terms + j);
        best = S::max(S::select(S::is_finite(x), x, nothing), best);
      }
    }
    const float largest = S::reduce_max(best);
    bias.mask_row_max = largest == -__builtin_inff() ? 0.0f : largest;
  }
  lse_offset = spec::bounded(bias.mask_row_max + bias.slope * static_cast<float>(bias.peak));
}

// T of one row in place.
template <class S>
OCTAVO_INLINE void add_terms(const CacheAttentionProblem& p, const RowBias& bias, std::int64_t entry, std::int64_t row,
                             std::int64_t first, std::int64_t keys, float* t) {
  alignas(64) float terms[spec::kCacheKeyBlock];
  fill_terms(p, bias, entry, row, first, keys, terms);
  const auto nothing = S::set1(-__builtin_inff()), poison = S::set1(__builtin_nanf(""));
  for (std::int64_t j = 0; j < keys; j += S::kLanes) {
    const auto term = S::load(terms + j);
    auto x = S::add(S::load(t + j), term);
    x = S::select(S::equal(x, x), x, poison);  // a caller's NaN becomes the one whose payload exp2 keeps
    S::store(t + j, S::select(S::equal(term, nothing), nothing, x));
  }
}

}  // namespace
}  // namespace octavo::cpu
