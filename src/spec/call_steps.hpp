// What a recipe asks of one call, in the terms of the kernels: both plans read it. The oracle reads the recipe itself.
#pragma once

#include "core/inline.hpp"
#include "core/problem.hpp"
#include "spec/block_mean.hpp"
#include "spec/operand.hpp"
#include "spec/q16.hpp"
#include "spec/v_prescale.hpp"

namespace octavo::spec {

// What must be known of an operand's channels over all rows of a head before its rows can be quantized.
struct ChannelNeeds {
  bool sums = false;      // for their means
  bool extremes = false;  // for scales that rows share, and for gains
  bool centre = false;    // of V under the fold: sums of weighted rows as they were given
  bool as_given = false;  // of rows before their rotation
  OCTAVO_MEMBER constexpr bool any() const { return sums || extremes || centre; }
};

struct CallSteps {
  bool rotate_qk = false, rotate_v = false;
  bool smooth_q = false, smooth_k = false, smooth_v = false;
  bool fold = false;              // the scales of V's tokens join the scores
  bool channel_gains = false;     // V's channels are divided by gains
  bool v_epilogue_scale = false;  // channels of O have a factor of their own in the epilogue
  bool v_block_scales = false;    // V has scales that change with the key block
  bool v_prescale = false;        // V near f32's end is multiplied by a power of two (spec/v_prescale.hpp)
  bool score_mod = false;         // softcap, mask or ALiBi: the fold's b is added after them
  bool running_maximum = false;   // codes of P are relative to the running maximum, else to the key block's own
  bool sum_codes = false;         // the row sum adds codes of P
  // The LSE, softcap or a sink needs softmax_scale * q . mean of K, which smooth_k took from every score of a row.
  bool smooth_k_logit_offset = false;
  bool robust = false;       // stray rows take no part in means, gains and the fold's largest scale
  bool qk_gains = false;     // channels of K are multiplied, those of Q divided by gains
  bool block_means = false;  // K's mean may be that of a block of keys (spec/block_mean.hpp)
  bool keeps = false;        // some keys of a row are computed exactly, apart from the quantized product
  bool hides_keys = false;   // whether a key exists must be looked up: key_mask, or a mask and a robust recipe
  bool q_range = false;      // one scale serves all rows of Q, whose range must be known first
  ChannelNeeds k_needs, v_needs;
};

OCTAVO_INLINE constexpr CallSteps steps_of(const Problem& problem) {
  const Recipe& recipe = problem.recipe;
  CallSteps steps;
  steps.rotate_qk = recipe.hadamard;
  steps.rotate_v = recipe.hadamard_v;
  steps.smooth_q = recipe.smooth_q;
  steps.smooth_k = recipe.smooth_k;
  steps.smooth_v = recipe.smooth_v;
  steps.fold = recipe.v_scale == Granularity::token_folded;
  steps.channel_gains = recipe.channel_gains && !problem.v.quantized;
  steps.v_epilogue_scale = recipe.v_scale == Granularity::channel || steps.channel_gains;
  steps.v_block_scales = recipe.v_scale == Granularity::block || recipe.v_scale == Granularity::block_channel;
  steps.v_prescale = takes_v_prescale(recipe);
  steps.score_mod = problem.modifies_scores();
  const bool has_codes = problem.q.quantized || problem.k.quantized || problem.v.quantized;
  steps.robust = recipe.robust;
  steps.qk_gains = recipe.qk_gains && !has_codes;
  steps.block_means = steps.qk_gains && recipe.smooth_k && divides_mean_blocks(recipe.key_block);
  steps.keeps = !has_codes && (recipe.keep_first > 0 || recipe.keep_near > 0 || recipe.keep_heavy > 0);
  steps.hides_keys = (recipe.robust && problem.mask.data != nullptr) || problem.key_mask.data != nullptr;
  steps.running_maximum = recipe.p_reference == MaximumReference::running;
  steps.sum_codes = recipe.row_sum == RowSum::codes;
  steps.smooth_k_logit_offset = recipe.smooth_k && (problem.lse != nullptr || problem.softcap > 0 ||
                                                    problem.sinks.data != nullptr || steps.keeps);
  steps.q_range = recipe.q_scale == Granularity::tensor && !problem.q.quantized;
  if (!problem.k.quantized) {
    steps.k_needs.sums = recipe.smooth_k || steps.qk_gains;
    steps.k_needs.extremes = recipe.k_scale == Granularity::tensor || steps.qk_gains;
    steps.k_needs.as_given = steps.qk_gains;
  }
  if (!problem.v.quantized) {
    steps.v_needs.sums = recipe.smooth_v && !steps.fold;
    steps.v_needs.centre = recipe.smooth_v && steps.fold;
    steps.v_needs.extremes = recipe.values == Format::f16 || recipe.v_scale == Granularity::tensor ||
                             recipe.v_scale == Granularity::channel || steps.channel_gains;
  }
  return steps;
}

// Whether Q of a sequence with that many query rows is taken in 16 bits.
OCTAVO_INLINE constexpr bool takes_q16(const Problem& problem, std::int64_t q_rows) {
  return !problem.q.quantized && is_q16(problem.recipe, q_rows);
}

// Whether the scores of such a sequence get the products of K with Q's means back. A quantized Q without means lost
// nothing.
OCTAVO_INLINE constexpr bool has_smooth_q_bias(const Problem& problem, std::int64_t q_rows) {
  if (problem.q.quantized) return problem.q.mean != nullptr;
  return problem.recipe.smooth_q && !is_q16(problem.recipe, q_rows);
}

}  // namespace octavo::spec
