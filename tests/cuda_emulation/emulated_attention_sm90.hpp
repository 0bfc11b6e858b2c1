// Hopper's attention kernel on the emulated machine, or on one with a planted bug.
#pragma once

#include "cuda/attention/prefill_sm90.hpp"
#include "cuda_emulation/machine_sm90.hpp"
#include "packed_problem.hpp"

namespace octavo::test {

using ParamsSm90 = cuda::AttentionParamsSm90<cuda::emulation::TensorMap>;

template <class Shape>
ParamsSm90 params_sm90(const PackedProblem& packed) {
  const auto rows = [&](std::size_t bytes) { return static_cast<std::int64_t>(bytes) / Shape::kDim; };
  ParamsSm90 params;
  params.attention = packed.params();
  params.heads_at_once = 2;
  params.q = {cuda::rows_box<Shape>(packed.q_codes.data(), rows(packed.q_codes.size()))};
  params.k = {cuda::rows_box<Shape>(packed.k_codes.data(), rows(packed.k_codes.size()))};
  params.v = {cuda::values_box<Shape>(packed.v_codes.data(), rows(packed.v_codes.size()))};
  return params;
}

// `blocks` thread blocks share the tasks.
template <class Shape>
cuda::emulation::Grid grid_sm90(std::int64_t blocks) {
  return {{blocks, 1, 1}, Shape::kAllWarps, Shape::kBytes, Shape::kRegisters};
}

// Every kernel there is; throws a Fault. False: no kernel for these operands, or for some sequence of theirs.
bool run_emulated_sm90(const PackedProblem& packed, const cuda::emulation::Options& options = {},
                       std::int64_t blocks = 3);

}  // namespace octavo::test
