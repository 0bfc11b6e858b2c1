#include "emulated_attention.hpp"

namespace octavo::test {

bool run_emulated(const PackedProblem& packed, const cuda::emulation::Options& options) {
  const cuda::AttentionKernelParams& params = packed.params();
  return cuda::with_attention_shape(packed.dim(), packed.scores(), packed.values(), [&]<class Shape>() {
    const auto launch = [&]<cuda::AttentionVariant variant>() {
      cuda::emulation::launch(attention_grid<Shape>(params), options, [&](cuda::emulation::Emulated& machine) {
        cuda::attend<cuda::emulation::Emulated, Shape, variant>(machine, params);
      });
    };
    if constexpr (Shape::kIntegerScores && Shape::kIntegerValues) {
      if (packed.p16()) {
        if (packed.modifies()) {
          launch.template operator()<cuda::AttentionVariant::p16_score_mod>();
        } else {
          launch.template operator()<cuda::AttentionVariant::p16>();
        }
        if (params.q.codes_low != nullptr) launch.template operator()<cuda::AttentionVariant::p16_q16>();
        return;
      }
    }
    if (packed.modifies()) {
      launch.template operator()<cuda::AttentionVariant::score_mod>();
    } else if (params.k.inverse != nullptr && !params.running_maximum && !params.sum_codes &&
               params.v.column_scale == nullptr) {
      launch.template operator()<cuda::AttentionVariant::folded>();
    } else {
      launch.template operator()<cuda::AttentionVariant::plain>();
    }
    if constexpr (Shape::kIntegerScores) {
      if (params.q.codes_low != nullptr) launch.template operator()<cuda::AttentionVariant::q16>();
    }
  });
}

}  // namespace octavo::test
