// The life of a call on a device, as launches:
//   sums -> means of K and V | ranges of whole tensors | blocks of K, V and Q packed | the fold's vectors |
//   for each chunk of query blocks: smooth_q's correction, attention
// Grids come from the tensors' extents, and kernels find their sequence.
#include <algorithm>
#include <numbers>

#include "cuda/attention_params.hpp"
#include "cuda/attention_plan.hpp"
#include "cuda/implementation.hpp"
#include "cuda/kernels/attention_shape.hpp"
#include "cuda/launch.hpp"
#include "cuda/tile_config.hpp"
#include "spec/format.hpp"
#include "spec/query_width.hpp"

namespace octavo::cuda {
namespace {

DeviceTensor device_tensor(const Broadcast& from) {
  DeviceTensor to;
  to.data = from.data;
  to.dtype = from.dtype;
  std::copy(from.strides.begin(), from.strides.end(), to.strides);
  return to;
}

// Makes the plan's arrays, in the order of their needs.
class AttentionDriver {
 public:
  AttentionDriver(const AttentionPlan& plan, const DeviceCall& call)
      : plan_(plan), problem_(plan.problem), launches_(call) {
    queries_.x = device_rows(problem_.q, problem_.head_dim);
    keys_.x = device_rows(problem_.k, problem_.head_dim);
    values_.x = device_rows(problem_.v, problem_.value_dim);
    queries_.sequences = plan.queries;
    keys_.sequences = values_.sequences = plan.keys;
    queries_.rotate = keys_.rotate = plan.recipe.hadamard;
    values_.rotate = plan.recipe.hadamard_v;
    // The caller's codes are rotated already.
    if (problem_.q.quantized) queries_.rotate = false;
    if (problem_.k.quantized) keys_.rotate = false;
    if (problem_.v.quantized) values_.rotate = false;
    logit_scale_ = static_cast<float>(problem_.softmax_scale * std::numbers::log2e);
  }

  Status run() {
    launches_.clear(plan_.zeroed, static_cast<std::size_t>(plan_.zeroed_count) * sizeof(std::uint32_t));
    find_unit();
    find_means();
    find_ranges();
    pack_keys();
    pack_values();
    pack_queries();
    turn_means_back();
    attend();
    return launches_.status();
  }

 private:
  // V's largest magnitude as the caller has it: what near f32's end takes a power of two off V.
  void find_unit() {
    if (plan_.v_plain.amax == nullptr) return;
    if (problem_.v.quantized) {
      ScaleRangeParams params;
      params.sequences = plan_.keys;
      params.groups = spec::groups_of(Role::v, plan_.recipe);
      params.dim = problem_.value_dim;
      params.scales_per_head = problem_.v.scales_per_head;
      params.scales = problem_.v.scales;
      params.largest_code = spec::range_of(problem_.v.dtype) + 1;  // -128 and -8 are codes, too
      params.amax = plan_.v_plain.amax;
      launches_.add(KernelId::range_scales, {{problem_.kv_heads, problem_.batch, 1}, kCodeWarps}, params);
      return;
    }
    RangeParams params;
    params.steps.x = values_.x;
    params.steps.sequences = values_.sequences;
    params.groups = spec::Groups{Granularity::tensor, Role::v, 1};
    params.ranges = plan_.v_plain;
    launches_.add(row_kernel(KernelId::find_ranges_64, values_.x.dim), {grid_of(values_.sequences)}, params);
    values_.unit_amax = plan_.v_plain.amax;
  }

  void find_means() {
    const auto whole = [&](RowSteps& steps, std::int64_t heads, std::int64_t dim, float* sums, float* mean) {
      if (sums != nullptr) {
        SumParams sum;
        sum.steps = steps;
        sum.sums = sums;
        launches_.add(row_kernel(KernelId::sum_channels_64, dim), {grid_of(plan_.keys)}, sum);
      }
      if (mean == nullptr) return;
      const MeanParams params{plan_.keys, dim, sums, mean};
      launches_.add(KernelId::finish_means, {{heads, problem_.batch, 1}, kCodeWarps}, params);
      steps.mean = mean;
    };
    whole(keys_, problem_.kv_heads, problem_.head_dim, plan_.k_sums, plan_.k_mean);
    whole(values_, problem_.kv_heads, problem_.value_dim, plan_.v_sums, plan_.v_mean);
    queries_.mean_of_block = true;
    if (plan_.q_mean == nullptr) return;
    SumParams sum;
    sum.steps = queries_;
    sum.mean = plan_.q_mean;
    launches_.add(row_kernel(KernelId::sum_channels_64, problem_.head_dim), {grid_of(plan_.queries)}, sum);
    queries_.mean = plan_.q_mean;
  }

  void find_ranges() {
    const auto of = [&](const RowSteps& steps, Role role, Granularity granularity, const RangeArrays& ranges) {
      if (ranges.amax == nullptr || (role == Role::v && plan_.plain_v_ranges)) return;
      RangeParams params;
      params.steps = steps;
      params.groups = spec::Groups{granularity, role, 1};
      params.ranges = ranges;
      launches_.add(row_kernel(KernelId::find_ranges_64, steps.x.dim), {grid_of(steps.sequences)}, params);
    };
    of(queries_, Role::q, Granularity::tensor, plan_.q_range);
    of(keys_, Role::k, Granularity::tensor, plan_.k_range);
    of(values_, Role::v, plan_.v_granularity == Granularity::channel ? Granularity::channel : Granularity::tensor,
       plan_.v_range);
  }

  PackParams pack_params(const RowSteps& steps, Role role, const RangeArrays& ranges) const {
    PackParams params;
    params.steps = steps;
    params.groups = spec::groups_of(role, plan_.recipe);
    params.ranges = ranges;
    params.rule = scale_rule(plan_.recipe, role);
    params.format = plan_.scores;
    params.dim = plan_.dim;
    return params;
  }

  void pack_keys() {
    PackParams params = pack_params(keys_, Role::k, plan_.k_range);
    params.codes = plan_.k_codes;
    params.factor = plan_.k_factor;
    params.factor_scale = logit_scale_;
    params.addend = plan_.k_addend;
    params.slots = plan_.slots();
    launches_.add(row_kernel(KernelId::pack_rows_64, plan_.dim), {grid_of(plan_.keys), kCodeWarps, kCodeSharedBytes},
                  params);
  }

  void pack_values() {
    PackValuesParams params;
    params.steps = values_;
    params.granularity = plan_.divides_v ? Granularity::tensor : plan_.v_granularity;
    params.ranges = plan_.v_range;
    params.rule = scale_rule(plan_.recipe, Role::v);
    params.format = plan_.values;
    params.divide = plan_.divides_v;
    if (problem_.v.quantized || plan_.plain_v_ranges) params.unit_amax = plan_.v_plain.amax;
    params.dim = plan_.dim;
    params.codes = plan_.v_codes;
    params.column_scale = plan_.column_scale;
    params.token_scale = plan_.token_scale;
    params.largest = plan_.largest;
    launches_.add(row_kernel(KernelId::pack_values_64, plan_.dim),
                  {grid_of(plan_.keys), kCodeWarps, pack_values_shared_bytes(static_cast<std::uint32_t>(plan_.dim))},
                  params);

    ValueFactorParams factors;
    factors.heads = problem_.kv_heads;
    factors.value_dim = problem_.value_dim;
    factors.dim = plan_.dim;
    factors.granularity = plan_.v_granularity;
    factors.divide = plan_.divides_v;
    factors.ranges = plan_.v_range;
    factors.rule = params.rule;
    const bool whole = plan_.v_granularity == Granularity::tensor || plan_.v_granularity == Granularity::channel;
    if (problem_.v.quantized && whole) factors.scales = problem_.v.scales;
    factors.unit_amax = params.unit_amax;
    factors.value_amax = plan_.v_plain.amax;
    factors.largest = plan_.largest;
    factors.mean = problem_.v.quantized ? problem_.v.mean : plan_.v_mean;
    factors.output_factor = plan_.output_factor;
    factors.output_addend = plan_.output_addend;
    factors.output_unit = plan_.output_unit;
    launches_.add(KernelId::value_factors, {{problem_.kv_heads, problem_.batch, 1}}, factors);

    if (!plan_.fold) return;
    FoldParams fold;
    fold.sequences = plan_.keys;
    fold.token_scale = plan_.token_scale;
    fold.largest = plan_.largest;
    fold.addend = plan_.k_addend;
    fold.inverse = plan_.k_inverse;
    fold.fold = plan_.k_fold;
    fold.slots = plan_.slots();
    launches_.add(KernelId::fold_scales, {grid_of(plan_.keys)}, fold);
  }

  const float* key_mean() const { return problem_.k.quantized ? problem_.k.mean : plan_.k_mean; }

  void pack_queries() {
    PackParams params = pack_params(queries_, Role::q, plan_.q_range);
    params.codes = plan_.q_codes;
    params.factor = plan_.q_factor;
    params.codes_low = plan_.q_low;
    params.wide = plan_.wide;
    params.constant = key_mean() != nullptr ? plan_.q_constant : nullptr;
    params.key_mean = key_mean();
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.softmax_scale = static_cast<float>(problem_.softmax_scale);
    launches_.add(row_kernel(KernelId::pack_rows_64, plan_.dim), {grid_of(plan_.queries), kCodeWarps, kCodeSharedBytes},
                  params);
  }

  void turn_means_back() {
    if (!plan_.corrects) return;
    MeanBackParams params;
    params.sequences = plan_.queries;
    params.dim = problem_.head_dim;
    // Codes of K stand for rotated, smoothed rows: there the mean stays as it is.
    params.rotate = plan_.recipe.hadamard && !problem_.k.quantized;
    params.mean = problem_.q.quantized ? problem_.q.mean : plan_.q_mean;
    params.means_per_head = problem_.q.quantized ? problem_.q.means_per_head : 0;
    params.key_mean = problem_.k.quantized ? nullptr : plan_.k_mean;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.back = plan_.means_back;
    params.constant = plan_.mean_constant;
    launches_.add(row_kernel(KernelId::turn_means_back_64, problem_.head_dim), {grid_of(plan_.queries)}, params);
  }

  void correct(const Chunk& chunk) {
    CorrectionParams params;
    params.keys = keys_;
    params.groups = spec::groups_of(Role::k, plan_.recipe);
    params.queries = plan_.queries;
    params.back = plan_.means_back;
    params.constant = plan_.mean_constant;
    params.addend = plan_.k_addend;
    params.slots = plan_.slots();
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.logit_scale = logit_scale_;
    params.chunk = chunk;
    params.correction = plan_.correction;
    params.keys_per_block = plan_.key_blocks() * kPackedRows;
    launches_.add(KernelId::correct_keys,
                  {{plan_.key_blocks(), chunk.heads, chunk.batches}, kCodeWarps, kCorrectionSharedBytes}, params);
  }

  AttentionKernelParams attention_params() const {
    const Problem& p = problem_;
    AttentionKernelParams to;
    to.q = {plan_.q_codes, plan_.q_low, plan_.q_factor, key_mean() != nullptr ? plan_.q_constant : nullptr,
            plan_.queries.grid};
    to.k = {plan_.k_codes, plan_.k_factor, plan_.k_addend, plan_.k_inverse, plan_.k_fold, plan_.keys.grid};
    to.v = {plan_.v_codes,       plan_.column_scale, plan_.output_factor,
            plan_.output_addend, plan_.output_unit,  plan_.keys.grid};
    to.correction = {plan_.correction, plan_.key_blocks() * kPackedRows};
    to.sequences = p.batch;
    to.q_heads = p.q_heads, to.kv_heads = p.kv_heads;
    to.q_rows = p.q_rows, to.k_rows = p.k_rows;
    to.value_dim = p.value_dim;
    to.kv_lens = plan_.keys.lens;
    to.cu_seqlens_q = plan_.queries.cu_seqlens;
    to.cu_seqlens_k = plan_.keys.cu_seqlens;
    to.causal = p.causal, to.window_left = p.window_left, to.window_right = p.window_right;
    to.softmax_scale = static_cast<float>(p.softmax_scale);
    to.logit_scale = logit_scale_;
    to.softcap = static_cast<float>(p.softcap);
    to.mask = device_tensor(p.mask);
    to.alibi_slopes = device_tensor(p.alibi_slopes);
    to.sinks = device_tensor(p.sinks);
    to.p_range = static_cast<float>(plan_.recipe.p_range);
    to.running_maximum = plan_.recipe.p_reference == MaximumReference::running;
    to.sum_codes = plan_.recipe.row_sum == RowSum::codes;
    to.rotate_output = plan_.recipe.hadamard_v;
    to.out.data = p.out.data;
    to.out.dtype = p.out.dtype;
    std::copy(p.out.strides.begin(), p.out.strides.end(), to.out.strides);
    to.lse = p.lse;
    std::copy(p.lse_strides.begin(), p.lse_strides.end(), to.lse_strides);
    return to;
  }

  void attend() {
    AttentionKernelParams params = attention_params();
    const Chunk& step = plan_.chunk;
    for (std::int64_t b = 0; b < plan_.batches(); b += step.batches) {
      for (std::int64_t h = 0; h < problem_.q_heads; h += step.heads) {
        for (std::int64_t block = 0; block < plan_.query_blocks(); block += step.blocks) {
          params.chunk = {block, std::min(step.blocks, plan_.query_blocks() - block),
                          h,     std::min(step.heads, problem_.q_heads - h),
                          b,     std::min(step.batches, plan_.batches() - b)};
          if (plan_.corrects) correct(params.chunk);
          attend(params);
        }
      }
    }
  }

  // Sequences of wide queries have a kernel of their own; in a packed batch there may be some of either kind.
  void attend(const AttentionKernelParams& params) {
    const bool short_queries = problem_.q_rows < spec::kWideQueryRows;
    if (plan_.wide && (problem_.packed() || short_queries)) attend(params, AttentionVariant::wide);
    if (plan_.wide && !problem_.packed() && short_queries) return;
    attend(params, problem_.modifies_scores() ? AttentionVariant::modified : AttentionVariant::plain);
  }

  void attend(const AttentionKernelParams& params, AttentionVariant wanted) {
    const Chunk& chunk = params.chunk;
    const auto start = [&](KernelId kernel, const AttentionLaunch& shape) {
      launches_.add(kernel,
                    {{chunk.blocks * (kPackedRows / shape.rows), chunk.heads, chunk.batches},
                     shape.threads / 32,
                     shape.shared_bytes},
                    params);
    };
#define OCTAVO_CUDA_ATTENTION_KERNEL(name, its_dim, its_scores, its_values, variant)                        \
  if (plan_.dim == (its_dim) && plan_.scores == PackedFormat::its_scores &&                                 \
      plan_.values == PackedFormat::its_values && wanted == AttentionVariant::variant) {                    \
    start(KernelId::name,                                                                                   \
          attention_launch<AttentionShape<its_dim, PackedFormat::its_scores, PackedFormat::its_values>>()); \
  }
#include "cuda/attention_kernels.inc"
#undef OCTAVO_CUDA_ATTENTION_KERNEL
  }

  const AttentionPlan& plan_;
  const Problem& problem_;
  Launches launches_;
  RowSteps queries_, keys_, values_;
  float logit_scale_ = 1;
};

}  // namespace

Result<std::size_t> workspace_size(const Implementation&, const Problem& problem, const DeviceProperties& device) {
  if (problem.batch == 0 || problem.q_rows == 0) return std::size_t{0};
  return AttentionPlan(problem, device, nullptr).bytes;
}

Status attention(const Implementation&, const Problem& problem, const DeviceProperties& device,
                 const DeviceCall& call) {
  if (problem.batch == 0 || problem.q_rows == 0) return {};
  const AttentionPlan plan(problem, device, call.workspace);
  return AttentionDriver(plan, call).run();
}

}  // namespace octavo::cuda
