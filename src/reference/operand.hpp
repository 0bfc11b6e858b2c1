// Elements in and out of the caller's tensors: any dtype and stride to f32, f32 to floats and codes.
#pragma once

#include <cstdint>

#include "core/problem.hpp"
#include "reference/matrix.hpp"

namespace octavo::reference {

// Value of element `index` (counted in elements; s4: in nibbles) of an array of any dtype but integers wider than 8
// bits; a bool is 0 or 1.
double read_element(const void* data, DType dtype, std::int64_t index);

// Rows first..first + rows - 1 of head (b, h), as f32: floats, or the value of each code without its scale.
Matrix load_rows(const Operand& operand, std::int64_t b, std::int64_t h, std::int64_t first, std::int64_t rows,
                 std::int64_t dim);

// One row of O. Finite values stay finite: f16, bf16 and f32 saturate.
void store_output_row(const Operand& out, std::int64_t b, std::int64_t h, std::int64_t row, const double* values,
                      std::int64_t dim);

// The bytes (or nibbles) of codes whose values `codes` holds.
void store_codes(const Operand& operand, std::int64_t b, std::int64_t h, const Matrix& codes);

}  // namespace octavo::reference
