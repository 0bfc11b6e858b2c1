// Packs K: rows are rotated, centred, quantized and transposed into words; scales and absent keys become the vectors of
// the qk stage.
//   K rows -> strips of words [k_steps][kStrip], key_factor and key_addend f32 [key_block]
#pragma once

#include "cpu/operands/load_transform.hpp"
#include "cpu/operands/row_scales.hpp"
#include "cpu/operands/seen_keys.hpp"

namespace octavo::cpu {
namespace {

// What coding a block of keys reads.
struct KeyRows {
  const Plan* plan;
  RowSource source;
  const float* mean;
  const std::int32_t* signs;
  const float* gain;  // null: none
};

// Rows from..to-1 of the sequence, rotated and centred, into [to - from][k_width]; their ranges.
template <class S>
OCTAVO_INLINE void load_keys(const KeyRows& keys, std::int64_t from, std::int64_t to, float* rows, RowRange* ranges) {
  const std::int64_t dim = keys.plan->problem->head_dim, width = keys.plan->k_width;
  const std::int32_t* signs = keys.plan->rotate_qk ? keys.signs : nullptr;
  const float* mean = keys.plan->smooth_k ? keys.mean : nullptr;
  load_transform_rows<S>(keys.source, from, to, dim, width, signs, mean, rows, ranges, 1.0f, keys.gain);
}

template <class S>
OCTAVO_INLINE void pack_keys(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i, std::byte* block,
                             std::byte* thread) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& k = problem.k;
  HeadInfo* head = head_at(call, b, kv_head);
  const SequenceInfo& sequence = *sequence_at(call, b);
  const Sequence rows = sequence.rows;
  const std::int64_t dim = problem.head_dim, width = plan.k_width, first = i * plan.key_block;
  const std::int64_t end = first + plan.key_block;
  const spec::Groups groups = spec::groups_of(Role::k, problem.recipe);
  const float* given_scales = spec::scales_at(k, sequence.k_scale_place, kv_head);
  float* factor = part<float>(block, plan.block.key_factor);
  float* addend = part<float>(block, plan.block.key_addend);
  auto& flags = *part<BlockFlags>(block, plan.block.flags);
  auto* packed = part<std::int32_t>(block, plan.block.keys);
  float* buffer = part<float>(thread, plan.thread.rows);
  alignas(64) std::int32_t signs[kMaxPadded];
  if (plan.rotate_qk) rotation_signs(signs, dim);
  const KeyRows keys{&plan, RowSource(k, b, kv_head, rows.k_begin),
                     mean_of_key_block(call, b, kv_head, first / spec::kMeanBlock), signs, qk_gains(call, head).of_k};
  const SeenKeys seen = seen_keys(call, b, kv_head);
  RowScales scales(groups, plan.qk_range, {head->k_amax, head->k_finite});
  RowRange ranges[kQueryBlock];                            // of the present stretch
  alignas(64) std::int32_t words[S::kLanes * kMaxPadded];  // rows [kLanes][width words] of the widest form
  const std::int64_t ld = plan.q_ld;
  flags.full_range_s8_in_k = false;

  // Floats as they are: their rows are words already, if nothing is wrong with them.
  const bool as_loaded = plan.qk_form == QkForm::f32 && problem.recipe.scores == Format::input &&
                         groups.granularity == Granularity::none && !k.quantized;
  const auto transposes = [&](const std::int32_t* rows_of_words, std::int64_t r0) __attribute__((always_inline)) {
    for (std::int64_t w = 0; w < plan.k_steps; w += S::kLanes)
      S::transpose(rows_of_words + w, ld,
                   packed + (r0 - first) / kStrip * plan.k_strip + w * kStrip + (r0 - first) % kStrip, kStrip);
  };
  // A stretch of shared scales is never cut: under key blocks of 64, two of them range the same 128 rows.
  const std::int64_t stretch = scales.stretch() > S::kLanes ? scales.stretch() : S::kLanes;
  for (std::int64_t from = first / stretch * stretch; from < end; from += stretch) {
    const std::int64_t to = from + stretch < rows.k_rows ? from + stretch : rows.k_rows;
    scales.start_stretch(from);
    if (!k.quantized) load_keys<S>(keys, from, to, buffer, ranges);
    for (std::int64_t r = from; r < to && scales.stretch() > 1 && !k.quantized; ++r)
      if (seen(r)) scales.add(r, ranges[r - from]);
    const std::int64_t begin = from > first ? from : first, stop = from + stretch < end ? from + stretch : end;
    for (std::int64_t r0 = begin; r0 < stop; r0 += S::kLanes) {
      bool whole = as_loaded && r0 + S::kLanes <= to;
      for (std::int64_t r = r0; whole && r < r0 + S::kLanes; ++r) whole = seen(r) && ranges[r - from].finite;
      if (whole) {
        for (std::int64_t r = r0 - first; r < r0 - first + S::kLanes; ++r) factor[r] = 1, addend[r] = 0;
        transposes(reinterpret_cast<const std::int32_t*>(buffer + (r0 - from) * width), r0);
        continue;
      }
      for (std::int64_t r = r0; r < r0 + S::kLanes; ++r) {
        std::int32_t* word = words + (r - r0) * ld;
        if (r >= rows.k_rows || !seen(r)) {
          std::memset(word, 0, static_cast<std::size_t>(ld) * 4);
          factor[r - first] = 0;
          addend[r - first] = -__builtin_inff();
          continue;
        }
        RowScale scale{1, 1};
        bool finite = true;
        if (k.quantized) {
          write_caller_words<S>(plan, k, keys.source.at(r), dim, word, finite);
          scale.scale = caller_scale(given_scales, groups, r);
          if (!S::kFullRangeS8 && plan.qk_form == QkForm::s8 &&
              holds_full_range_s8(reinterpret_cast<const std::int8_t*>(word), dim))
            flags.full_range_s8_in_k = true;
        } else {
          const RowRange range = ranges[r - from];
          float* row = buffer + (r - from) * width;
          finite = range.finite;
          scale = scales.of(r, range);
          // The addend makes rows that see the key NaN; pack_q.hpp says why its words are zero.
          if (!finite) std::memset(row, 0, static_cast<std::size_t>(width) * 4);
          write_words<S>(plan, problem.recipe.scores, row, dim, scale.inverse, word);
        }
        factor[r - first] = scale.scale;
        addend[r - first] = finite ? 0.0f : __builtin_nanf("");
      }
      if (plan.qk_form == QkForm::s8 && S::kKeyBias != 0)
        for (std::int64_t w = 0; w < S::kLanes * ld; w += S::kLanes)
          S::store(words + w, S::xor_s32(S::load(words + w), S::set1(static_cast<std::int32_t>(0x80808080u))));
      transposes(words, r0);
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
