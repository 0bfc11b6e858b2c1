// How far a result may be from the oracle's: relative L2 of O over the whole tensor, absolute difference of the LSE by
// row. The bounds are those of docs/the_algorithm.md and nobody else's.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "octavo/recipe.hpp"

namespace octavo::test {

struct Difference {
  double squares = 0, norm = 0;  // of the elements that are finite in both
  std::int64_t elements = 0;
  std::string wrong;  // NaN where none belongs, values where nothing may stand: no tolerance forgives it

  void add(const std::vector<float>& got, const std::vector<float>& expected);
  double relative() const { return norm > 0 ? std::sqrt(squares / norm) : squares > 0 ? INFINITY : 0; }
};

double relative_l2(const std::vector<float>& got, const std::vector<float>& expected);

/// Whether the recipe's products with weights are exact integers, or floats without a format of their own.
bool is_exact_or_s8(const Recipe& recipe);

/// The gate of `exact` on bf16 inputs, against exact arithmetic.
inline constexpr double kExactBf16Gate = 3e-3;

/// The bound on relative L2 for a kernel against the oracle. `own_error`: of the recipe against exact.
double output_bound(const Recipe& recipe, double own_error, std::int64_t elements);

/// "" if the LSE of all rows are as close as the contract says, else what is wrong.
std::string check_lse(const Recipe& recipe, const std::vector<float>& got, const std::vector<float>& expected);

}  // namespace octavo::test
