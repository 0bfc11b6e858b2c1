#include "emulated_attention.hpp"

namespace octavo::test {
namespace {

// Whether there is such a kernel.
template <class Shape>
constexpr bool exists(cuda::AttentionVariant wanted) {
  bool found = false;
#define OCTAVO_CUDA_ATTENTION_KERNEL(name, its_dim, its_scores, its_values, variant)                \
  found = found || (Shape::kDim == (its_dim) && Shape::kScores == cuda::PackedFormat::its_scores && \
                    Shape::kValues == cuda::PackedFormat::its_values && wanted == cuda::AttentionVariant::variant);
#include "cuda/host/attention_kernels.inc"
#undef OCTAVO_CUDA_ATTENTION_KERNEL
  return found;
}

}  // namespace

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
    const bool folded =
        params.k.inverse != nullptr && !params.running_maximum && !params.sum_codes && params.v.column_scale == nullptr;
    constexpr bool kHasFolded = exists<Shape>(cuda::AttentionVariant::folded);
    constexpr bool kHasPlain = exists<Shape>(cuda::AttentionVariant::plain);
    // The one with every option serves all others.
    if (packed.modifies() || !(folded ? kHasFolded : kHasPlain)) {
      launch.template operator()<cuda::AttentionVariant::score_mod>();
    } else if (folded) {
      if constexpr (kHasFolded) launch.template operator()<cuda::AttentionVariant::folded>();
    } else if constexpr (kHasPlain) {
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
