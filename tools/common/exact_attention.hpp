// O = softmax(scale * Q K^T) V in double, written from the definition and without the library: what the demo and the
// studies measure every recipe against.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/tensor_view.hpp"

namespace octavo::tool {

// q [Hq, M, D], k [Hkv, N, D], v [Hkv, N, Dv] -> [Hq, M, Dv], row-major. causal: key j is visible iff j <= i + N - M.
// lse, if given, becomes [Hq, M]: the natural logarithm of each row's sum of exp(score).
std::vector<double> exact_attention(const TensorView& q, const TensorView& k, const TensorView& v, double scale,
                                    bool causal, std::vector<double>* lse = nullptr);

}  // namespace octavo::tool
