// The mma.sync attention kernel on the emulated machine, or on one with a planted bug.
#pragma once

#include "cuda/attention/prefill_sm80.hpp"
#include "cuda_emulation/machine.hpp"
#include "packed_problem.hpp"

namespace octavo::test {

template <class Shape>
cuda::emulation::Grid attention_grid(const cuda::AttentionKernelParams& params) {
  const auto& chunk = params.chunk;
  return {{chunk.blocks * (cuda::kPackedRows / Shape::kRows), cuda::head_tiles(params), chunk.batches},
          Shape::kWarps,
          Shape::kBytes};
}

// Every kernel there is; throws a Fault. False: no kernel for these operands.
bool run_emulated(const PackedProblem& packed, const cuda::emulation::Options& options = {});

}  // namespace octavo::test
