// Attention as a GPU's FlashAttention computes it on bf16 tensors, for the demo's row "bf16 attention":
//   S = bf16(Q) bf16(K)^T, P = exp(scale S - row maximum), l = the sum of P, O = bf16(bf16(P) bf16(V) / l)
// Q, K, V, P and O are rounded to bf16, to nearest, ties to even; sums, the exponential and l are f32.
#pragma once

#include <vector>

#include "octavo/tensor_view.hpp"

namespace octavo::tool {

// q [Hq, M, D], k [Hkv, N, D], v [Hkv, N, Dv] -> [Hq, M, Dv], row-major. causal: key j is visible iff j <= i + N - M.
std::vector<float> bf16_attention(const TensorView& q, const TensorView& k, const TensorView& v, float scale,
                                  bool causal);

}  // namespace octavo::tool
