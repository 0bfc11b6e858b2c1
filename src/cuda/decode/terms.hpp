// What changes a score beyond its factors, and which keys masks hide: softcap, ALiBi, mask, key_mask and tree_mask, in
// this order. A term that all keys of a row share cancels in softmax, so the mask's largest term and ALiBi's are taken
// off, and added back in the LSE and where the row is compared with a sink.
//   find_cache_mask_maxima   the mask's largest finite term of each query row      one warp a row of a head
#pragma once

#include "cuda/attention/score_mod.hpp"
#include "cuda/decode/tile.hpp"

namespace octavo::cuda {

OCTAVO_INLINE bool modifies_scores(const DecodeParams& p) {
  return p.softcap > 0 || p.mask.data != nullptr || p.alibi_slopes.data != nullptr || p.key_mask.data != nullptr ||
         p.tree_mask.data != nullptr;
}
OCTAVO_INLINE bool has_mask_maxima(const DecodeParams& p) {
  return p.mask.data != nullptr && p.mask.dtype != DType::boolean;
}

// What key_mask and tree_mask hide from a query.
OCTAVO_INLINE bool hides_key(const DecodeParams& p, const DecodeTask& task, std::int32_t query, std::int32_t key) {
  const std::int64_t entry = p.first_entry + task.entry, drafted = key - (task.keys - task.q_rows);
  const auto* const exists = static_cast<const std::uint8_t*>(p.key_mask.data);
  const auto* const tree = static_cast<const std::uint8_t*>(p.tree_mask.data);
  const Strides<4>&k = p.key_mask.strides, &t = p.tree_mask.strides;
  if (exists != nullptr && exists[entry * k[0] + key * k[3]] == 0) return true;
  return tree != nullptr && drafted >= 0 && tree[entry * t[0] + query * t[2] + drafted * t[3]] == 0;
}

// The mask's element for a key that the row sees, natural units.
template <class Machine>
OCTAVO_DEVICE float cache_mask_term(const DecodeParams& p, const DecodeTask& task, const DecodeRow& row,
                                    std::int32_t key) {
  const Strides<4>& strides = p.mask.strides;
  const std::int64_t at =
      (p.first_entry + task.entry) * strides[0] + row.head * strides[1] + row.query * strides[2] + key * strides[3];
  float term = 0;
  with_element_kind(p.mask.dtype, [&]<ElementKind kind>() { term = read_mask<kind, Machine>(p.mask, at); });
  return term;
}

// Of a row: what is taken off the mask (natural units), and ALiBi (spec/alibi.hpp; the slope in base 2).
struct alignas(16) RowTermsOfCache {
  float mask_max, slope;
  std::int32_t diagonal, peak;
};
template <class Machine>
OCTAVO_DEVICE RowTermsOfCache terms_of_decode_row(const DecodeParams& p, const DecodeTask& task, const DecodeRow& row,
                                                  const spec::KeyRange& seen) {
  RowTermsOfCache terms{0, 0, 0, 0};
  if (has_mask_maxima(p)) {
    terms.mask_max = p.mask_maxima[(task.entry * p.cache.kv_heads * p.group + row.head) * p.q_rows + row.query];
  }
  if (p.alibi_slopes.data == nullptr) return terms;
  const Strides<4>& strides = p.alibi_slopes.strides;
  terms.slope = spec::in_base_2(
      read_number<Machine>(p.alibi_slopes, (p.first_entry + task.entry) * strides[0] + row.head * strides[1]));
  terms.diagonal = static_cast<std::int32_t>(spec::diagonal(p.causal, task.q_rows, task.keys, row.query));
  terms.peak = spec::alibi_peak(p.alibi, terms.slope, static_cast<std::int32_t>(seen.begin),
                                static_cast<std::int32_t>(seen.end), terms.diagonal);
  return terms;
}
// What is taken off the row's scores, natural units.
OCTAVO_INLINE float offset_of_terms(const RowTermsOfCache& terms) {
  return spec::bounded(terms.mask_max + terms.slope * spec::kLn2 * static_cast<float>(terms.peak));
}

// A score that the row sees by position. `constant`: what softcap needs added.
template <class Machine>
OCTAVO_DEVICE float modified_score(const DecodeParams& p, const DecodeTask& task, const DecodeRow& row,
                                   const RowTermsOfCache& terms, float constant, std::int32_t key, float x) {
  if (hides_key(p, task, row.query, key)) return -__builtin_inff();
  if (p.softcap > 0) x = apply_softcap<Machine>(x, constant, 1.0f / p.softcap, p.softcap);
  if (p.alibi_slopes.data != nullptr) {
    const auto distance = static_cast<float>(spec::alibi_distance(p.alibi, key, terms.diagonal) - terms.peak);
    x = __builtin_fmaf(terms.slope, distance, x);
  }
  if (p.mask.data == nullptr) return x;
  const float term = cache_mask_term<Machine>(p, task, row, key);
  return term == -__builtin_inff() ? term : __builtin_fmaf(term - terms.mask_max, spec::kLog2E, x);
}

template <class Machine>
OCTAVO_DEVICE void find_cache_mask_maxima(Machine& machine, const DecodeParams& p) {
  begin_kernel(machine);
  DecodeTask task;
  task.entry = static_cast<std::int32_t>(machine.block(2));
  find_entry(p, task);
  const auto query = static_cast<std::int32_t>(machine.block(0) * machine.warps() + machine.warp());
  if (query >= task.q_rows) return;
  const DecodeRow row{query, static_cast<std::int32_t>(machine.block(1))};
  const spec::KeyRange seen =
      spec::visible_keys(p.causal, p.window_left, p.window_right, task.q_rows, task.keys, query);
  Registers<Machine, float, 1> best;
  machine.lanes(
      [&](int lane, float(&b)[1]) {
        b[0] = -__builtin_inff();
        OCTAVO_ROLLED
        for (auto key = static_cast<std::int32_t>(seen.begin) + lane; key < seen.end; key += kLanes) {
          const float x = cache_mask_term<Machine>(p, task, row, key);
          if (is_finite(x) && x > b[0] && !hides_key(p, task, query, key)) b[0] = x;
        }
      },
      best);
  max_over<kLanes>(machine, best);
  machine.lanes(
      [&](int lane, float(&b)[1]) {
        if (lane != 0) return;
        const std::int64_t at = (task.entry * p.cache.kv_heads * p.group + row.head) * p.q_rows + query;
        p.mask_maxima[at] = b[0] == -__builtin_inff() ? 0.0f : b[0];
      },
      best);
}

}  // namespace octavo::cuda
