// Elements of any float or integer dtype as numbers, and numbers as f32, f16 or bf16: the tool's own conversions, so
// that what it measures is not measured with the library's.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/tensor_view.hpp"

namespace octavo::tool {

float f16_to_f32(std::uint16_t bits) noexcept;
float bf16_to_f32(std::uint16_t bits) noexcept;
// To nearest, ties to even; f16 beyond 65504 becomes infinity.
std::uint16_t f32_to_f16(float value) noexcept;
std::uint16_t f32_to_bf16(float value) noexcept;

// Whether to_f64() can read it: every dtype but s4.
bool is_number(DType dtype) noexcept;
// All elements, row-major.
std::vector<double> to_f64(const TensorView& view);
// Stores element `index` of a dense f32, f16 or bf16 tensor.
void store(const TensorView& dense, std::int64_t index, float value) noexcept;

}  // namespace octavo::tool
