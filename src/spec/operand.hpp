// What a recipe says of one of its operands: Q, K or V.
#pragma once

#include "core/inline.hpp"
#include "octavo/quantize.hpp"
#include "octavo/recipe.hpp"
#include "spec/format.hpp"

namespace octavo::spec {

OCTAVO_INLINE constexpr Format format_of(const Recipe& recipe, Role role) {
  return role == Role::v ? recipe.values : recipe.scores;
}
OCTAVO_INLINE constexpr Granularity granularity_of(const Recipe& recipe, Role role) {
  return role == Role::q ? recipe.q_scale : role == Role::k ? recipe.k_scale : recipe.v_scale;
}
OCTAVO_INLINE constexpr bool is_rotated(const Recipe& recipe, Role role) {
  return role == Role::v ? recipe.hadamard_v : recipe.hadamard;
}
OCTAVO_INLINE constexpr bool is_smoothed(const Recipe& recipe, Role role) {
  return role == Role::q ? recipe.smooth_q : role == Role::k ? recipe.smooth_k : recipe.smooth_v;
}

// R of the quantizer (spec/scale.hpp): the format's, or V's own.
OCTAVO_INLINE constexpr float code_range(const Recipe& recipe, Role role) {
  return role == Role::v && recipe.v_range > 0 ? static_cast<float>(recipe.v_range) : range_of(format_of(recipe, role));
}

// The recipe of codes, made by quantize() or by the caller: what needs the originals of more than one operand, or is
// kept beside the codes, is off.
OCTAVO_INLINE constexpr Recipe recipe_of_codes(Recipe recipe) {
  recipe.qk_gains = false;
  recipe.keep_first = recipe.keep_near = recipe.keep_heavy = 0;
  if (recipe.v_scale == Granularity::token_folded) recipe.smooth_v = false;
  return recipe;
}

// A token of V that is all zeros has the scale 0, so that the fold gives it no weight; elsewhere zeros have the
// scale 1.
OCTAVO_INLINE constexpr bool zero_scale_of_zero(const Recipe& recipe, Role role) {
  const Granularity granularity = granularity_of(recipe, role);
  return role == Role::v && (granularity == Granularity::token || granularity == Granularity::token_folded);
}

}  // namespace octavo::spec
