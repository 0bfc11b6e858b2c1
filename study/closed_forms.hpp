// Predictions of a recipe's error on N(0, 1) Q, K and V from its description alone: rounding errors of Q, K, P and V,
// each independent of the others.
#pragma once

#include <cstdint>

#include "octavo/recipe.hpp"

namespace octavo::study {

// Mean of f(largest magnitude of n normal numbers) and of f(largest of n normal numbers), f = exp(factor x) or x^2.
double mean_square_of_largest_magnitude(double n);
double mean_exp_of_largest(double n, double factor);

// rms of the rounding error over the rms of N(0, 1) numbers in groups of `count` that share a scale (integers), or of a
// float format, for which scales do not matter.
double rounding_error(Format format, double count);

struct Predicted {
  double qk = 0, p = 0, v = 0;
  double all() const;
};
// Scores of standard deviation `spread`, N keys, D channels. Integer and float formats; kept keys count as none.
Predicted predict(const Recipe& recipe, double spread, std::int64_t keys, std::int64_t dim);

}  // namespace octavo::study
