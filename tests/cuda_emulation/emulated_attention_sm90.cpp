#include "emulated_attention_sm90.hpp"

#include "emulated_attention.hpp"

namespace octavo::test {
namespace {

template <class Shape>
void run(const PackedProblem& packed, const cuda::emulation::Options& options, std::int64_t blocks) {
  using cuda::emulation::EmulatedSm90;
  const std::vector<std::uint8_t> v_codes = values_sm90<Shape>(packed);
  ParamsSm90 params = params_sm90<Shape>(packed, v_codes);
  // Every way to share the tasks and the tensor cores, over the samples of a test.
  std::uint32_t asked = 0;
  params.asked = options.shuffle % 3 == 0 ? nullptr : &asked;
  params.ping_pong = options.shuffle % 2 == 0;
  const cuda::AttentionKernelParams& p = params.attention;
  const auto launch = [&]<cuda::AttentionVariant variant>() {
    cuda::emulation::launch<EmulatedSm90>(grid_sm90<Shape>(blocks), options, [&](EmulatedSm90& machine) {
      cuda::attend_sm90<EmulatedSm90, Shape, variant>(machine, params);
    });
  };
  const bool folded = p.k.inverse != nullptr && !p.running_maximum && !p.sum_codes && p.v.column_scale == nullptr;
  // At 256 channels the one with every option serves recipes without the fold, too.
  constexpr bool kHasPlain = Shape::kDim < 256 || !Shape::kIntegerScores;
  if (packed.modifies() || (!kHasPlain && !folded)) {
    launch.template operator()<cuda::AttentionVariant::score_mod>();
  } else if (folded) {
    if constexpr (Shape::kIntegerValues) launch.template operator()<cuda::AttentionVariant::folded>();
  } else if constexpr (kHasPlain) {
    launch.template operator()<cuda::AttentionVariant::plain>();
  }
  if (asked != 0) throw cuda::emulation::Fault("the count of tasks asked for is not 0 after the launch");
  // Sequences of 16-bit Q, which the kernels above skip, as the host side has it.
  if constexpr (Shape::kIntegerScores && Shape::kIntegerValues) {
    if (p.q.codes_low == nullptr) return;
    using Sm80 = cuda::AttentionShape<Shape::kDim, Shape::kScores, Shape::kValues>;
    cuda::AttentionKernelParams of_short = p;
    of_short.short_queries = true;
    cuda::emulation::launch(attention_grid<Sm80>(p), options, [&](cuda::emulation::Emulated& machine) {
      cuda::attend<cuda::emulation::Emulated, Sm80, cuda::AttentionVariant::score_mod>(machine, of_short);
    });
  }
}

}  // namespace

bool run_emulated_sm90(const PackedProblem& packed, const cuda::emulation::Options& options, std::int64_t blocks) {
#define OCTAVO_CUDA_SM90_KERNEL(name, its_dim, its_scores, its_values, its_f16_sums, variant)                   \
  if (cuda::AttentionVariant::variant == cuda::AttentionVariant::score_mod && packed.dim() == (its_dim) &&      \
      packed.scores() == cuda::PackedFormat::its_scores && packed.values() == cuda::PackedFormat::its_values && \
      packed.params().f16_sums == (its_f16_sums)) {                                                             \
    run<cuda::AttentionShapeSm90<its_dim, cuda::PackedFormat::its_scores, cuda::PackedFormat::its_values,       \
                                 its_f16_sums>>(packed, options, blocks);                                       \
    return true;                                                                                                \
  }
#include "cuda/host/sm90_kernels.inc"
#undef OCTAVO_CUDA_SM90_KERNEL
  return false;
}

}  // namespace octavo::test
