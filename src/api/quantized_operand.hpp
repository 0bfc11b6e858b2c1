// The form of a quantized Q, K or V under a recipe: formats, shapes of scales and means, and the recipe fields that its
// codes depend on.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "api/cu_seqlens.hpp"
#include "api/tensor_checks.hpp"
#include "core/problem.hpp"
#include "octavo/quantize.hpp"
#include "spec/granularity.hpp"

namespace octavo {

// s8, s4, e4m3 or e5m2; nothing for an operand that the recipe keeps in floats.
std::optional<DType> code_dtype(const Recipe& recipe, Role role) noexcept;

// Refuses operands that the recipe keeps in floats, or scales by more than codes and scales can express.
Status check_quantizable(const Recipe& recipe, Role role);

// Shape and rank of an f32 array beside codes. Rank 0: there is none.
struct ScaleShape {
  std::array<std::int64_t, 4> shape{};
  int rank = 0;
  // Axis 1 may be as short as this, where cu_seqlens on a device decide its extent; 0: it may not.
  std::int64_t least = 0;
};
// Floats from the scales (means) of one head to those of the next, and of one sequence to the next.
struct ScaleStrides {
  std::int64_t head = 0, sequence = 0;
};

// Of codes with these extents, and the way from head to head in them.
struct ScaleLayout {
  ScaleShape scales, mean;
  ScaleStrides of_scales, of_mean;
};
ScaleLayout scale_layout(const Recipe& recipe, Role role, const Axes& axes, const CuSeqlens& sequences) noexcept;

struct QuantizedRanges {
  ByteRange codes, scales, mean, cu_seqlens;
};

// Everything about `view` that does not depend on other operands; `recipe` and `sequences` (of a varlen batch) are
// the call's. Fills `operand` and `ranges`.
Status check_quantized(std::string_view name, const QuantizedView& view, Role role, const Recipe& recipe,
                       const CuSeqlens& sequences, Pointers pointers, Operand& operand, QuantizedRanges& ranges);

}  // namespace octavo
