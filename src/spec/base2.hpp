// Scores in natural units, as callers give and get them, and in base 2, in which the kernels compute 2^x.
#pragma once

#include <numbers>

#include "core/float_types.hpp"
#include "core/inline.hpp"

namespace octavo::spec {

constexpr float kLog2E = std::numbers::log2e_v<float>, kLn2 = std::numbers::ln2_v<float>;
constexpr float kMostF32 = 3.40282347e38f;

// An overflow becomes the largest finite number; NaN stays NaN.
OCTAVO_INLINE constexpr float bounded(float x) { return x > kMostF32 ? kMostF32 : x < -kMostF32 ? -kMostF32 : x; }

// Natural units to base 2: finite numbers stay finite; infinities and NaN keep their meaning.
OCTAVO_INLINE constexpr float in_base_2(float x) { return is_finite(x) ? bounded(x * kLog2E) : x; }

// Softcap's tanh t = 1 - 2 / (e^2t + 1) has no digits left near zero, where a large cap puts all scores. Below
// kTanhNear it is its series as far as t^7, with a relative error below 4e-7.
constexpr float kTanhNear = 0.25f;
constexpr float kTanh3 = -1.0f / 3, kTanh5 = 2.0f / 15, kTanh7 = -17.0f / 315;

}  // namespace octavo::spec
