// A product is modelled where both operands are floats of 8 or 16 bits; check_recipe refuses other floats.
#include "reference/tensor_core.hpp"

#include "spec/format.hpp"

namespace octavo::reference {
namespace {

std::int32_t smallest_exponent(Format format, DType inputs) {
  switch (format) {
    case Format::e4m3:
      return spec::kSmallestExponentE4m3;
    case Format::e5m2:
      return spec::kSmallestExponentE5m2;
    case Format::input:
      return inputs == DType::bf16 ? spec::kSmallestExponentBf16 : spec::kSmallestExponentF16;
    default:
      return spec::kSmallestExponentF16;
  }
}

// P's format, where it is one of floats.
Format as_format(WeightFormat p) {
  return p == WeightFormat::e4m3   ? Format::e4m3
         : p == WeightFormat::e5m2 ? Format::e5m2
         : p == WeightFormat::f16  ? Format::f16
                                   : Format::input;
}

std::optional<ModelledProduct> modelled(const Recipe& recipe, Format left, Format right, DType inputs) {
  if (!is_tensor_core(recipe.accumulator) || spec::is_integer(right)) return std::nullopt;
  return ModelledProduct{spec::dot_law(recipe.accumulator, spec::is_float8(right)), smallest_exponent(left, inputs),
                         smallest_exponent(right, inputs)};
}

}  // namespace

bool is_tensor_core(Accumulator accumulator) {
  return accumulator != Accumulator::f32 && accumulator != Accumulator::f16;
}

std::optional<ModelledProduct> modelled_scores(const Recipe& recipe, DType inputs) {
  return modelled(recipe, recipe.scores, recipe.scores, inputs);
}

std::optional<ModelledProduct> modelled_values(const Recipe& recipe, DType inputs) {
  return modelled(recipe, as_format(recipe.p), recipe.values, inputs);
}

std::vector<spec::Factor> factors_by_row(const Matrix& x, std::int32_t smallest_exponent) {
  std::vector<spec::Factor> factors;
  factors.reserve(x.data.size());
  for (float value : x.data) factors.push_back(spec::factor_of(value, smallest_exponent));
  return factors;
}

std::vector<spec::Factor> factors_by_channel(const Matrix& x, std::int32_t smallest_exponent) {
  std::vector<spec::Factor> factors(x.data.size());
  for (std::int64_t row = 0; row < x.rows; ++row) {
    for (std::int64_t c = 0; c < x.cols; ++c) {
      factors[static_cast<std::size_t>(c * x.rows + row)] = spec::factor_of(x.at(row, c), smallest_exponent);
    }
  }
  return factors;
}

}  // namespace octavo::reference
