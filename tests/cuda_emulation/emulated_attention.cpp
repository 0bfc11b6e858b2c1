#include "emulated_attention.hpp"

namespace octavo::test {

bool run_emulated(const PackedProblem& packed, const cuda::emulation::Options& options) {
  const cuda::AttentionKernelParams& params = packed.params();
  return cuda::with_attention_shape(packed.dim(), packed.scores(), packed.values(), [&]<class Shape>() {
    cuda::emulation::launch(attention_grid<Shape>(params), options, [&](cuda::emulation::Emulated& machine) {
      cuda::attend<cuda::emulation::Emulated, Shape>(machine, params);
    });
  });
}

}  // namespace octavo::test
