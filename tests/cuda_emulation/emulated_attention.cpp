#include "emulated_attention.hpp"

namespace octavo::test {

bool run_emulated(const PackedProblem& packed, const cuda::emulation::Options& options) {
  const cuda::AttentionKernelParams& params = packed.params();
  return cuda::with_attention_shape(packed.dim(), packed.scores(), packed.values(), [&]<class Shape>() {
    const auto launch_with = [&]<cuda::AttentionVariant variant>(const cuda::AttentionKernelParams& its) {
      cuda::emulation::launch(attention_grid<Shape>(params), options, [&](cuda::emulation::Emulated& machine) {
        cuda::attend<cuda::emulation::Emulated, Shape, variant>(machine, its);
      });
    };
    const auto launch = [&]<cuda::AttentionVariant variant>() { launch_with.template operator()<variant>(params); };
    cuda::AttentionKernelParams of_short = params;
    of_short.short_queries = true;
    if constexpr (Shape::kIntegerScores && Shape::kIntegerValues) {
      if (packed.p16()) {
        launch.template operator()<cuda::AttentionVariant::p16>();
        if (params.q.codes_low != nullptr) {
          launch_with.template operator()<cuda::AttentionVariant::p16>(of_short);
        }
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
      if (params.q.codes_low != nullptr) {
        launch_with.template operator()<cuda::AttentionVariant::score_mod>(of_short);
      }
    }
  });
}

}  // namespace octavo::test
