// merge_state(): LSE = max + log1p(exp(min - max)), O = O_a e^(LSE_a - LSE) + O_b e^(LSE_b - LSE). Weights in double,
// applied in f32, as on the CPU; one warp a row.
#pragma once

#include <cmath>

#include "cuda/kernels/rows.hpp"
#include "cuda/quantize_params.hpp"

namespace octavo::cuda {

template <class Machine>
OCTAVO_DEVICE void merge_rows(Machine& machine, const MergeParams& p) {
  const std::int64_t row = machine.block(0) * machine.warps() + machine.warp(), head = machine.block(1);
  const std::int64_t b = machine.block(2);
  if (row >= p.rows) return;
  const auto lse_at = [&](const MergeParams::Part& part) -> float& {
    return part.lse[b * part.lse_strides[0] + head * part.lse_strides[1] + row * part.lse_strides[2]];
  };
  const auto o_at = [&](const MergeParams::Part& part) {
    return part.o + b * part.strides[0] + head * part.strides[1] + row * part.strides[2];
  };
  const double lse_a = lse_at(p.a), lse_b = lse_at(p.b);
  const double nothing = -__builtin_inf(), high = lse_a > lse_b ? lse_a : lse_b, low = lse_a > lse_b ? lse_b : lse_a;
  const bool use_a = lse_a != nothing, use_b = lse_b != nothing;
  double lse = low == nothing ? high : high + ::log1p(::exp(low - high));
  if (lse_a != lse_a || lse_b != lse_b) lse = static_cast<double>(f32_of_bits(0x7fc00000u));
  const float weight_a = use_a ? static_cast<float>(::exp(lse_a - lse)) : 0.0f;
  const float weight_b = use_b ? static_cast<float>(::exp(lse_b - lse)) : 0.0f;
  const float* const from_a = o_at(p.a);
  const float* const from_b = o_at(p.b);
  float* const to = const_cast<float*>(o_at(p.out));
  // `out` may be a's or b's own memory: every lane has read the row's LSE before one of them writes it.
  Registers<Machine, std::uint32_t, 1> none;
  machine.lanes([](int, std::uint32_t(&x)[1]) { x[0] = 0; }, none);
  (void)machine.any(none);
  machine.lanes(
      [&](int lane, std::uint32_t(&)[1]) {
        for (std::int64_t c = lane; c < p.dim; c += kLanes) {
          const float a = use_a ? weight_a * from_a[c * p.a.strides[3]] : 0.0f;
          const float other = use_b ? weight_b * from_b[c * p.b.strides[3]] : 0.0f;
          to[c * p.out.strides[3]] = a + other;
        }
        if (lane == 0) lse_at(p.out) = static_cast<float>(lse);
      },
      none);
}

}  // namespace octavo::cuda
