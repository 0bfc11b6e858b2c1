// What a quantized Q, K or V must look like under a recipe: formats, shapes of scales and means, and which fields of
// the recipe its codes depend on.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "api/borders.hpp"
#include "api/views.hpp"
#include "core/problem.hpp"
#include "octavo/quantize.hpp"
#include "spec/granularity.hpp"

namespace octavo {

// s8, s4, e4m3 or e5m2; nothing for an operand that the recipe keeps in floats.
std::optional<DType> code_dtype(const Recipe& recipe, Role role) noexcept;

// The recipe keeps this operand in floats, or scales it in a way that codes and scales alone cannot carry.
Status check_quantizable(const Recipe& recipe, Role role);

// Shape and rank of an f32 array beside codes. Rank 0: there is none.
struct SideShape {
  std::array<std::int64_t, 4> shape{};
  int rank = 0;
  std::int64_t elements() const noexcept;
};
// Floats from the scales (means) of one head to those of the next, and of one sequence to the next.
struct SideStrides {
  std::int64_t head = 0, sequence = 0;
};

// Of codes with these extents, and the way from head to head in them.
struct SideLayout {
  SideShape scales, mean;
  SideStrides of_scales, of_mean;
};
SideLayout side_layout(const Recipe& recipe, Role role, const Axes& axes, const Borders& borders) noexcept;

struct QuantizedRanges {
  ByteRange codes, scales, mean, cu_seqlens;
};

// Everything about `view` that does not depend on other operands; `recipe` and `borders` (of its packed sequences) are
// the call's. Fills `operand` and `ranges`.
Status check_quantized(std::string_view name, const QuantizedView& view, Role role, const Recipe& recipe,
                       const Borders& borders, Pointers pointers, Operand& operand, QuantizedRanges& ranges);

}  // namespace octavo
