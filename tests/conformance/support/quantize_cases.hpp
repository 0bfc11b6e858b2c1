// Inputs and comparisons of the tests that hold a back end's codes, scales and means against the oracle's, byte for
// byte: recipes, shapes, placements in memory, and the comparison of stored bytes.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "octavo/quantize.hpp"
#include "spoilt.hpp"
#include "tensor.hpp"

namespace octavo::test {

struct QuantizeShape {
  Extents extents;
  Placement place;
};

// Shapes that every back end quantizes; a test adds its own.
std::vector<QuantizeShape> quantize_shapes(std::initializer_list<QuantizeShape> more);

// All presets, then compositions that have each granularity and step with each role at least once, then `more`.
std::vector<std::string> quantize_recipes(std::initializer_list<const char*> more);

// N(0, 1) values, then the changes of `spoilt`, rounded to dtype.
Tensor quantize_input(const QuantizeShape& shape, DType dtype, const Spoilt& spoilt);

// For SCOPED_TRACE.
std::string quantize_trace(const std::string& recipe, Role role, DType dtype, const QuantizeShape& shape,
                           const Spoilt& spoilt);

// The bytes from the first element to the last, padding nibbles included; the view is in host memory.
std::vector<unsigned char> stored_bytes(const TensorView& view);
std::size_t stored_size(const TensorView& view);

// Bit-equal f32, except that any NaN equals any NaN.
::testing::AssertionResult same_floats(const std::vector<unsigned char>& got,
                                       const std::vector<unsigned char>& expected);

}  // namespace octavo::test
