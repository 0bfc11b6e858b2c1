#include "cuda/host/attend_chunks.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/text.hpp"
#include "cuda/attention/block_offsets.hpp"
#include "cuda/attention/kept_shape.hpp"
#include "cuda/attention/merge_parts.hpp"
#include "cuda/attention/task.hpp"
#include "cuda/attention/tile_shape.hpp"
#include "cuda/host/wgmma_attention.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/q16.hpp"

namespace octavo::cuda {
namespace {

// Thread blocks for all query rows of a chunk, and all parts of their keys.
LaunchShape tasks_of(const AttentionLaunch& shape, const AttentionKernelParams& p) {
  return {{p.chunk.blocks * (kPackedRows / shape.rows) * p.unfinished.parts, head_tiles(p), p.chunk.batches},
          shape.threads / 32,
          shape.shared_bytes};
}

class ChunkDriver {
 public:
  ChunkDriver(Launches& launches, const AttentionPlan& plan, const AttentionScratch& scratch,
              const OperandSteps& operands, bool smooths_k)
      : launches_(launches),
        plan_(plan),
        problem_(plan.problem),
        scratch_(scratch),
        operands_(operands),
        smooths_k_(smooths_k),
        logit_scale_(static_cast<float>(problem_.softmax_scale * std::numbers::log2e)),
        wgmma_(launches.device(), plan, scratch) {}

  Status attend() {
    if (!wgmma_.status().ok()) return wgmma_.status();
    AttentionKernelParams params = attention_params();
    const Chunk& step = plan_.chunk;
    bool folds = plan_.steps.fold;
    for (std::int64_t b = 0; b < plan_.batches(); b += step.batches) {
      for (std::int64_t h = 0; h < problem_.q_heads; h += step.heads) {
        for (std::int64_t block = 0; block < plan_.query_blocks(); block += step.blocks) {
          params.chunk = {block, std::min(step.blocks, plan_.query_blocks() - block),
                          h,     std::min(step.heads, problem_.q_heads - h),
                          b,     std::min(step.batches, plan_.batches() - b)};
          params.shared = plan_.shared;
          params.shared.of_chunk = static_cast<std::int32_t>(plan_.head_tiles(params.chunk.heads));
          finish_operands(params.chunk, folds);
          folds = false;
          if (plan_.keeps_heavy) find_heavy_keys(params.chunk);
          attend(params);
          if (plan_.parts > 1) merge_parts(params);
          if (plan_.steps.keeps) join_kept_keys(params);
        }
      }
    }
    return launches_.status();
  }

 private:
  // smooth_q's bias and the offsets of K's block means; with the first chunk the fold.
  void finish_operands(const Chunk& chunk, bool folds) {
    FinishParams params;
    std::array<std::int64_t, 3> grid{1, chunk.heads, chunk.batches};
    const auto add = [&](FinishPart part, std::int64_t blocks) {
      params.parts[params.count++] = part;
      grid[0] = std::max(grid[0], blocks);
    };
    if (plan_.smooth_q_bias) add(FinishPart::bias, plan_.key_blocks());
    if (plan_.steps.block_means) add(FinishPart::offsets, chunk.blocks);
    if (folds) {
      add(FinishPart::fold, plan_.key_blocks()), add(FinishPart::factors, 1);
      grid[1] = std::max(grid[1], problem_.kv_heads), grid[2] = plan_.batches();
    }
    if (params.count == 0) return;
    if (plan_.smooth_q_bias) params.bias = smooth_q_bias(chunk);
    if (plan_.steps.block_means) params.offset = block_offsets(chunk);
    params.fold = operands_.fold, params.factors = operands_.factors;
    grid[0] *= params.count;
    launches_.add(row_kernel(KernelId::finish_operands_64, problem_.head_dim),
                  {grid, kCodeWarps, plan_.steps.block_means ? kBlockOffsetsSharedBytes : 0}, params);
  }

  SmoothQBiasParams smooth_q_bias(const Chunk& chunk) const {
    SmoothQBiasParams params;
    params.keys = operands_.keys;
    params.groups = spec::groups_of(Role::k, plan_.recipe);
    params.queries = plan_.queries;
    params.unrotated_means = scratch_.unrotated_q_means;
    params.dot_key_mean = scratch_.dot_key_mean;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.logit_scale = logit_scale_;
    params.chunk = chunk;
    params.bias = scratch_.smooth_q_bias;
    return params;
  }

  BlockOffsetParams block_offsets(const Chunk& chunk) const {
    BlockOffsetParams params;
    params.queries = operands_.queries;
    params.keys = plan_.keys;
    params.taken = scratch_.block_means.taken;
    params.shift = scratch_.block_means.shift;
    params.unrotated_means = scratch_.unrotated_q_means;
    params.q16 = plan_.q16;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.logit_scale = logit_scale_;
    params.chunk = chunk;
    params.offsets = scratch_.block_offsets;
    return params;
  }

  void find_heavy_keys(const Chunk& chunk) {
    HeavyKeysParams params;
    params.queries = plan_.queries;
    params.keys = plan_.keys;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.causal = problem_.causal;
    params.window_left = problem_.window_left, params.window_right = problem_.window_right;
    params.kept = scratch_.kept;
    params.q16 = plan_.q16;
    params.fold = scratch_.k.fold;
    params.chunk = chunk;
    params.bias = scratch_.smooth_q_bias;
    launches_.add(KernelId::find_heavy_keys, {{chunk.blocks, chunk.heads, chunk.batches}}, params);
  }

  void merge_parts(const AttentionKernelParams& attention) {
    const Chunk& chunk = attention.chunk;
    MergePartsParams params{attention, plan_.dim, plan_.steps.keeps};
    params.attention.shared = {};
    launches_.add(KernelId::merge_parts,
                  {{chunk.blocks * (kPackedRows / kMergeRows), chunk.heads, chunk.batches}, kCodeWarps}, params);
  }

  // Numbers of 16 bits are multiplied as they are, all others as sums of bf16.
  void join_kept_keys(const AttentionKernelParams& attention) {
    KeptKeysParams params;
    params.attention = attention;
    params.attention.unfinished.parts = 1;
    params.attention.shared = {};
    params.q = operands_.queries.x, params.k = operands_.keys.x, params.v = operands_.values.x;
    params.prescale_amax = scratch_.v_plain.amax;
    const DType q = problem_.q.dtype;
    const bool same = problem_.k.dtype == q && problem_.v.dtype == q;
    const DType wanted = same && q != DType::f32 ? q : DType::f32;
    const auto start = [&](KernelId kernel, const AttentionLaunch& shape) {
      launches_.add(kernel, tasks_of(shape, params.attention), params);
    };
#define OCTAVO_CUDA_KEPT_KERNEL(name, its_dim, numbers)                       \
  if (plan_.dim == (its_dim) && wanted == DType::numbers) {                   \
    start(KernelId::name, kept_launch<KeptShape<its_dim, DType::numbers>>()); \
  }
#include "cuda/host/kept_kernels.inc"
#undef OCTAVO_CUDA_KEPT_KERNEL
  }

  AttentionKernelParams attention_params() const {
    const Problem& p = problem_;
    AttentionKernelParams to;
    to.q = scratch_.q, to.k = scratch_.k, to.v = scratch_.v;
    if (!smooths_k_) to.q.smooth_k_logit_offset = nullptr;
    to.smooth_q_bias = scratch_.smooth_q_bias;
    to.block_offsets = scratch_.block_offsets;
    to.queries = plan_.queries, to.keys = plan_.keys;
    to.value_dim = p.value_dim;
    to.causal = p.causal, to.window_left = p.window_left, to.window_right = p.window_right;
    to.softmax_scale = static_cast<float>(p.softmax_scale);
    to.logit_scale = logit_scale_;
    to.softcap = static_cast<float>(p.softcap);
    to.mask = p.mask, to.alibi_slopes = p.alibi_slopes, to.sinks = p.sinks;
    to.kept = scratch_.kept;
    to.unfinished = scratch_.unfinished;
    if (plan_.steps.hides_keys) to.seen = scratch_.seen;
    to.hides_keys = plan_.steps.score_mod && (plan_.steps.hides_keys || plan_.steps.keeps);
    to.alibi = p.alibi;
    to.p_range = static_cast<float>(plan_.recipe.p_range);
    to.log2_p_range = std::log2(to.p_range);
    to.running_maximum = plan_.steps.running_maximum;
    to.sum_codes = plan_.steps.sum_codes;
    to.p_rounding = float8_rounding(plan_.recipe.p == WeightFormat::e5m2);
    to.f16_sums = plan_.f16_sums;
    to.rotate_output = plan_.steps.rotate_v;
    to.out = p.out;
    to.lse = p.lse;
    to.lse_strides = p.lse_strides;
    return to;
  }

  // Sequences of 16-bit Q have a launch of their own; a varlen batch may hold both kinds.
  void attend(const AttentionKernelParams& params) {
    const bool short_queries = problem_.q_rows < spec::kQ16Rows;
    const bool keeps = plan_.steps.keeps, p16 = plan_.recipe.p == WeightFormat::u16;
    const AttentionVariant any_options = p16     ? AttentionVariant::p16
                                         : keeps ? AttentionVariant::kept_score_mod
                                                 : AttentionVariant::score_mod;
    if (plan_.q16 && (problem_.varlen() || short_queries)) {
      AttentionKernelParams of_short = params;
      of_short.short_queries = true;
      attend_with_every_option(of_short, any_options);
    }
    if (plan_.q16 && !problem_.varlen() && short_queries) return;
    const AttentionVariant special = !plan_.folded() ? AttentionVariant::plain
                                     : keeps         ? AttentionVariant::kept
                                                     : AttentionVariant::folded;
    if (plan_.takes_every_option() || !attend(params, special)) attend_with_every_option(params, any_options);
  }
  void attend_with_every_option(const AttentionKernelParams& params, AttentionVariant variant) {
    if (!attend(params, variant)) launches_.fail(no_kernel());
  }
  // supports() refuses what has none.
  Status no_kernel() const {
    return {StatusCode::kInternal,
            text("no attention kernel for ", plan_.dim, " channels with recipe ", to_string(plan_.recipe))};
  }

  // false: there is no such kernel.
  bool attend(const AttentionKernelParams& params, AttentionVariant wanted) {
    // Kernels by mma.sync read V as those by wgmma have it only in their launch for short sequences.
    if (plan_.wgmma && !params.short_queries) return wgmma_.attend(launches_, params, wanted);
    // Of mma.sync one kernel has every option, kept keys or not.
    if (wanted == AttentionVariant::kept_score_mod) wanted = AttentionVariant::score_mod;
    bool started = false;
    const auto start = [&](KernelId kernel, const AttentionLaunch& shape) {
      launches_.add(kernel, tasks_of(shape, params), params);
      started = true;
    };
#define OCTAVO_CUDA_ATTENTION_KERNEL(name, its_dim, its_scores, its_values, variant)                        \
  if (plan_.dim == (its_dim) && plan_.qk_format == PackedFormat::its_scores &&                              \
      plan_.v_format == PackedFormat::its_values && wanted == AttentionVariant::variant) {                  \
    start(KernelId::name,                                                                                   \
          attention_launch<AttentionShape<its_dim, PackedFormat::its_scores, PackedFormat::its_values>>()); \
  }
#include "cuda/host/attention_kernels.inc"
#include "cuda/host/e4m3_kernels.inc"
#include "cuda/host/kept_attention_kernels.inc"
#include "cuda/host/s4_e4m3_kernels.inc"
#include "cuda/host/s4_kernels.inc"
#undef OCTAVO_CUDA_ATTENTION_KERNEL
    return started;
  }

  Launches& launches_;
  const AttentionPlan& plan_;
  const Problem& problem_;
  const AttentionScratch& scratch_;
  const OperandSteps operands_;
  const bool smooths_k_;
  const float logit_scale_;
  WgmmaAttention wgmma_;
};

}  // namespace

Status attend_chunks(Launches& launches, const AttentionPlan& plan, const AttentionScratch& scratch,
                     const OperandSteps& operands, bool smooths_k) {
  return ChunkDriver(launches, plan, scratch, operands, smooths_k).attend();
}

}  // namespace octavo::cuda
