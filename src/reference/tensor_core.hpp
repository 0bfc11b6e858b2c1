// Which products of a recipe go through the model of a tensor core's accumulator (spec/fused_dot.hpp), and the operands
// as that model takes them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "octavo/recipe.hpp"
#include "octavo/tensor_view.hpp"
#include "reference/matrix.hpp"
#include "spec/fused_dot.hpp"

namespace octavo::reference {

// How one of the two products is added up.
struct ModelledProduct {
  spec::DotModel law;
  std::int32_t left_exponent, right_exponent;  // smallest ones of the formats of Q and K, of P and V
};

// Whether the accumulator is a tensor core's.
bool is_tensor_core(Accumulator accumulator);

// No value: the sum is exact or in f32. `inputs`: the dtype that Format::input stands for.
std::optional<ModelledProduct> modelled_scores(const Recipe& recipe, DType inputs);
std::optional<ModelledProduct> modelled_values(const Recipe& recipe, DType inputs);

// By row [rows, cols], as the first product reads K; by channel [cols, rows], as the second reads V.
std::vector<spec::Factor> factors_by_row(const Matrix& x, std::int32_t smallest_exponent);
std::vector<spec::Factor> factors_by_channel(const Matrix& x, std::int32_t smallest_exponent);

}  // namespace octavo::reference
