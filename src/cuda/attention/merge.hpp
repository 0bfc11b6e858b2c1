// merge_state() (spec/merge.hpp), one warp a row.
#pragma once

#include "core/problem.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/scalar_ops.hpp"
#include "spec/merge.hpp"

namespace octavo::cuda {

template <class Machine>
OCTAVO_DEVICE void merge_rows(Machine& machine, const MergeProblem& p) {
  begin_kernel(machine);
  const std::int64_t row = machine.block(0) * machine.warps() + machine.warp(), head = machine.block(1);
  const std::int64_t b = machine.block(2);
  if (row >= p.rows) return;
  const auto lse_at = [&](const MergeProblem::Part& part) -> float& {
    return part.lse[b * part.lse_strides[0] + head * part.lse_strides[1] + row * part.lse_strides[2]];
  };
  const auto o_at = [&](const MergeProblem::Part& part) {
    return static_cast<float*>(part.o.data) + part.o.offset(b, head, row);
  };
  const spec::MergeWeights weights = spec::merge_weights(lse_at(p.a), lse_at(p.b));
  const float* const from_a = o_at(p.a);
  const float* const from_b = o_at(p.b);
  float* const to = o_at(p.out);
  // `out` may be a's or b's own memory: all lanes must have read the row's LSE before one of them writes it.
  Registers<Machine, std::uint32_t, 1> none;
  machine.lanes([](int, std::uint32_t(&x)[1]) { x[0] = 0; }, none);
  (void)machine.any(none);
  machine.lanes(
      [&](int lane, std::uint32_t(&)[1]) {
        for (std::int64_t c = lane; c < p.dim; c += kLanes) {
          to[c * p.out.o.strides[3]] = spec::merge_channels<ScalarOps<Machine>>(weights, from_a[c * p.a.o.strides[3]],
                                                                                from_b[c * p.b.o.strides[3]]);
        }
        if (lane == 0) lse_at(p.out) = weights.lse;
      },
      none);
}

}  // namespace octavo::cuda
