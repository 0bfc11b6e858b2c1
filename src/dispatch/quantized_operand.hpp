// What a quantized Q, K or V must look like under a recipe: formats, shapes of scales and means, and which fields of
// the recipe its codes depend on.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/problem.hpp"
#include "dispatch/views.hpp"
#include "laws/granularity.hpp"
#include "octavo/quantize.hpp"

namespace octavo {

// The recipe's words about one operand.
Format format_of(const Recipe& recipe, Role role) noexcept;
Granularity granularity_of(const Recipe& recipe, Role role) noexcept;
bool is_rotated(const Recipe& recipe, Role role) noexcept;
bool is_smoothed(const Recipe& recipe, Role role) noexcept;

// s8, s4, e4m3 or e5m2; nothing for an operand that the recipe keeps in floats.
std::optional<DType> code_dtype(const Recipe& recipe, Role role) noexcept;

// The recipe keeps this operand in floats, or scales it in a way that codes and scales alone cannot carry.
Status check_quantizable(const Recipe& recipe, Role role);

// Shape and rank of the f32 arrays beside codes of these extents. Rank 0: there is none.
struct SideShape {
  std::array<std::int64_t, 4> shape{};
  int rank = 0;
  std::int64_t elements() const noexcept;
};
SideShape scales_shape(const Recipe& recipe, Role role, const Axes& axes) noexcept;
SideShape mean_shape(const Recipe& recipe, Role role, const Axes& axes) noexcept;

struct QuantizedRanges {
  ByteRange codes, scales, mean;
};

// Everything about `view` that does not depend on other tensors; `recipe` is the one of the call. Fills `operand` and
// `ranges`.
Status check_quantized(std::string_view name, const QuantizedView& view, Role role, const Recipe& recipe,
                       Pointers pointers, Operand& operand, QuantizedRanges& ranges);

}  // namespace octavo
