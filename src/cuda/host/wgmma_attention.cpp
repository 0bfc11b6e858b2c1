#include "cuda/host/wgmma_attention.hpp"

#include <algorithm>

#include "core/env.hpp"

namespace octavo::cuda {
namespace {

// K and V of the heads that are worked on at once are to stay in the L2 cache, of which Hopper has 50 MiB.
constexpr std::int64_t kCachedBytes = std::int64_t{24} << 20;

// f.template operator()<Shape>() of the kernels for these operands, of which one has every option; false: there are
// none.
template <class F>
bool with_shape(PackedFormat scores, PackedFormat values, bool f16_sums, std::int32_t dim, F&& f) {
#define OCTAVO_CUDA_SM90_KERNEL(name, its_dim, its_scores, its_values, its_f16_sums, variant)                    \
  if (AttentionVariant::variant == AttentionVariant::score_mod && dim == (its_dim) &&                            \
      scores == PackedFormat::its_scores && values == PackedFormat::its_values && f16_sums == (its_f16_sums)) {  \
    f.template                                                                                                   \
    operator()<AttentionShapeSm90<its_dim, PackedFormat::its_scores, PackedFormat::its_values, its_f16_sums>>(); \
    return true;                                                                                                 \
  }
#include "cuda/host/sm90_kernels.inc"
#undef OCTAVO_CUDA_SM90_KERNEL
  return false;
}

std::uint32_t heads_at_once(const AttentionPlan& plan) {
  const std::int64_t key_bytes = packed_bytes(plan.qk_format, plan.dim) + packed_bytes(plan.v_format, plan.dim);
  const std::int64_t head_bytes = plan.key_blocks() * kPackedRows * key_bytes;
  const std::int64_t kv_heads = std::max<std::int64_t>(kCachedBytes / head_bytes, 1);
  const std::int64_t group = plan.problem.q_heads / plan.problem.kv_heads;
  const std::int64_t of_kv_head = plan.shared.heads > 1 ? plan.shared.of_kv_head : group;
  return static_cast<std::uint32_t>(std::min(kv_heads, plan.batches() * plan.problem.kv_heads) * of_kv_head);
}

}  // namespace

bool has_wgmma_attention(PackedFormat scores, PackedFormat values, bool f16_sums, std::int32_t dim) {
  return with_shape(scores, values, f16_sums, dim, []<class Shape>() {});
}

WgmmaAttention::WgmmaAttention(int device, const AttentionPlan& plan, const AttentionScratch& scratch) : plan_(plan) {
  if (!plan.wgmma) return;
  const auto make = [&](const TensorBox& box, TensorMapBytes& to) {
    if (!status_.ok()) return;
    const Result<TensorMapBytes> map = runtime()->tensor_map(device, box);
    status_ = map.status();
    if (map.ok()) to = *map;
  };
  with_shape(plan.qk_format, plan.v_format, plan.f16_sums, plan.dim, [&]<class Shape>() {
    make(query_box<Shape>(scratch.q.codes, packed_q_rows(plan), plan.shared), params_.q);
    make(key_box<Shape>(scratch.k.codes, packed_k_rows(plan)), params_.k);
    make(value_box<Shape>(scratch.v.codes, packed_k_rows(plan)), params_.v);
    if (plan.shared.heads > 1 && plan.smooth_q_bias) params_.head_addend_bytes = Shape::kHeadAddendBytes;
  });
  params_.heads_at_once = heads_at_once(plan);
  params_.asked = scratch.asked_tasks;
  params_.ping_pong = environment().cuda_ping_pong.value_or(true);
}

bool WgmmaAttention::attend(Launches& launches, const AttentionKernelParams& params, AttentionVariant variant) {
  if (!plan_.wgmma) return false;
  params_.attention = params;
  const std::int64_t blocks = std::min<std::int64_t>(tasks_of_chunk(params), plan_.multiprocessors);
#define OCTAVO_CUDA_SM90_KERNEL(name, its_dim, scores, values, its_f16_sums, its_variant)                            \
  if (plan_.dim == (its_dim) && plan_.qk_format == PackedFormat::scores && plan_.v_format == PackedFormat::values && \
      plan_.f16_sums == (its_f16_sums) && variant == AttentionVariant::its_variant) {                                \
    using Shape = AttentionShapeSm90<its_dim, PackedFormat::scores, PackedFormat::values, its_f16_sums>;             \
    launches.add(KernelId::name, {{blocks, 1, 1}, Shape::kAllWarps, Shape::kBytes}, params_);                        \
    return true;                                                                                                     \
  }
#include "cuda/host/sm90_kernels.inc"
#undef OCTAVO_CUDA_SM90_KERNEL
  return false;
}

}  // namespace octavo::cuda
