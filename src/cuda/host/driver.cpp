// The launches of an attention call on a device:
//   keys that exist | sums -> means of K and V, gains of Q and K | ranges of whole tensors | K, V and Q packed | the
//   fold's vectors | chunks of query blocks (attend_chunks.hpp)
// Grids are sized by the tensors' extents; kernels find their sequence.
#include <numbers>

#include "cuda/host/attend_chunks.hpp"
#include "cuda/host/implementation.hpp"
#include "cuda/host/launch.hpp"
#include "cuda/host/plan.hpp"
#include "cuda/host/workspace.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/format.hpp"
#include "spec/q16.hpp"

namespace octavo::cuda {
namespace {

// Fills the scratch arrays in the order of their dependencies, then attends.
class AttentionDriver {
 public:
  AttentionDriver(const AttentionPlan& plan, const DeviceCall& call)
      : plan_(plan), problem_(plan.problem), scratch_(lay_out(plan, call.workspace)), launches_(call) {
    queries_.x = operand_rows(problem_.q, problem_.head_dim);
    keys_.x = operand_rows(problem_.k, problem_.head_dim);
    values_.x = operand_rows(problem_.v, problem_.value_dim);
    queries_.sequences = plan.queries;
    keys_.sequences = values_.sequences = plan.keys;
    queries_.rotate = keys_.rotate = plan.steps.rotate_qk;
    values_.rotate = plan.steps.rotate_v;
    // The caller's codes are rotated already.
    if (problem_.q.quantized) queries_.rotate = false;
    if (problem_.k.quantized) keys_.rotate = false;
    if (problem_.v.quantized) values_.rotate = false;
    logit_scale_ = static_cast<float>(problem_.softmax_scale * std::numbers::log2e);
  }

  Status run() {
    launches_.clear(scratch_.zeroed, static_cast<std::size_t>(scratch_.zeroed_count) * sizeof(std::uint32_t));
    mark_seen();
    find_v_prescale();
    find_key_means();
    find_qk_gains();
    find_value_means();
    find_query_means();
    find_ranges();
    pack_keys();
    pack_values();
    pack_queries();
    unrotate_means();
    return attend_chunks(launches_, plan_, scratch_, {queries_, keys_, values_}, key_mean() != nullptr);
  }

 private:
  void mark_seen() {
    if (!plan_.marks_seen) return;
    SeenKeysParams params;
    params.queries = plan_.queries;
    params.keys = plan_.keys;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.causal = problem_.causal;
    params.window_left = problem_.window_left, params.window_right = problem_.window_right;
    params.robust = plan_.steps.robust;
    params.mask = problem_.mask, params.key_mask = problem_.key_mask;
    params.seen = scratch_.seen;
    launches_.add(KernelId::mark_seen, {grid_of(plan_.keys), kCodeWarps}, params);
    keys_.seen = values_.seen = scratch_.seen;
  }

  // The largest magnitude of V as given, which decides whether V is prescaled.
  void find_v_prescale() {
    if (scratch_.v_plain.amax == nullptr) return;
    if (problem_.v.quantized) {
      ScaleRangeParams params;
      params.sequences = plan_.keys;
      params.groups = spec::groups_of(Role::v, plan_.recipe);
      params.dim = problem_.value_dim;
      params.scales_per_head = problem_.v.scales_per_head;
      params.scales = problem_.v.scales;
      params.largest_code = spec::range_of(problem_.v.dtype) + 1;  // -128 and -8 are codes, too
      params.amax = scratch_.v_plain.amax;
      launches_.add(KernelId::range_scales, {{problem_.kv_heads, problem_.batch, 1}, kCodeWarps}, params);
      return;
    }
    RangeParams params;
    params.steps.x = values_.x;
    params.steps.sequences = values_.sequences;
    params.steps.seen = values_.seen;
    params.groups = spec::Groups{Granularity::tensor, Role::v, 1};
    params.ranges = scratch_.v_plain;
    launches_.add(row_kernel(KernelId::find_ranges_64, values_.x.dim), {grid_of(values_.sequences)}, params);
    values_.prescale_amax = scratch_.v_plain.amax;
  }

  void sum_channels(const RowSteps& steps, float* sums, float* mean) {
    SumParams params;
    params.steps = steps;
    params.sums = sums;
    params.mean = mean;
    launches_.add(row_kernel(KernelId::sum_channels_64, steps.x.dim), {grid_of(steps.sequences)}, params);
  }

  void finish_means(std::int64_t dim, const float* sums, float* mean) {
    const MeanParams params{plan_.keys, dim, sums, mean};
    launches_.add(KernelId::finish_means, {{problem_.kv_heads, problem_.batch, 1}, kCodeWarps}, params);
  }

  void find_key_means() {
    if (scratch_.k_sums == nullptr) return;
    RowSteps steps = keys_;
    if (plan_.steps.k_needs.as_given) steps.rotate = false;
    if (plan_.steps.robust || plan_.steps.qk_gains) {
      StatsParams params;
      params.steps = steps;
      params.robust = plan_.steps.robust;
      params.exponents = scratch_.k_exponents;
      params.of_largest = scratch_.k_largest_exponent;
      params.sums = scratch_.k_sums;
      params.extremes = scratch_.k_extremes;
      const KernelId kernel = row_kernel(KernelId::channel_stats_64, problem_.head_dim);
      launches_.add(kernel, {grid_of(plan_.keys)}, params);
      params.again = true;
      if (plan_.steps.robust) launches_.add(kernel, {grid_of(plan_.keys)}, params);
    } else {
      sum_channels(steps, scratch_.k_sums, nullptr);
    }
    finish_means(problem_.head_dim, scratch_.k_sums, scratch_.k_mean);
    if (plan_.steps.smooth_k) keys_.mean = scratch_.k_mean;
  }

  void find_qk_gains() {
    if (!plan_.steps.qk_gains) return;
    StatsParams of_q;
    of_q.steps = queries_;
    of_q.steps.rotate = false;
    of_q.robust = plan_.steps.robust;
    of_q.of_block = true;
    of_q.spread = scratch_.q_spread;
    launches_.add(row_kernel(KernelId::channel_stats_64, problem_.head_dim), {grid_of(plan_.queries)}, of_q);
    GainParams params;
    params.queries = plan_.queries;
    params.keys = plan_.keys;
    params.dim = problem_.head_dim;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.rotate = plan_.steps.rotate_qk;
    params.extremes = scratch_.k_extremes;
    params.spread = scratch_.q_spread;
    params.mean = scratch_.k_mean;
    params.of_k = scratch_.gain_of_k;
    params.of_q = scratch_.gain_of_q;
    params.sums = scratch_.k_sums;
    params.block_means = keys_.block_means = scratch_.block_means;
    launches_.add(row_kernel(KernelId::find_qk_gains_64, problem_.head_dim), {{problem_.kv_heads, problem_.batch, 1}},
                  params);
    keys_.gain = scratch_.gain_of_k;
    queries_.gain = scratch_.gain_of_q;
    queries_.heads_per_gain = params.heads_per_kv_head;
  }

  void find_value_means() {
    if (scratch_.v_sums == nullptr) return;
    values_.mean = scratch_.v_mean;
    if (!plan_.steps.v_needs.centre) {
      sum_channels(values_, scratch_.v_sums, nullptr);
      finish_means(problem_.value_dim, scratch_.v_sums, scratch_.v_mean);
      return;
    }
    const CentreSumParams sums{values_, scratch_.v_sums};
    launches_.add(row_kernel(KernelId::sum_weighted_rows_64, problem_.value_dim), {grid_of(plan_.keys)}, sums);
    const CentreParams centre{plan_.keys, problem_.value_dim, values_.rotate, scratch_.v_sums, scratch_.v_mean};
    launches_.add(row_kernel(KernelId::finish_centres_64, problem_.value_dim), {{problem_.kv_heads, problem_.batch, 1}},
                  centre);
  }

  void find_query_means() {
    queries_.mean_of_block = true;
    if (scratch_.q_mean == nullptr) return;
    if (plan_.steps.robust) {
      StatsParams params;
      params.steps = queries_;
      params.robust = params.of_block = true;
      params.mean = scratch_.q_mean;
      launches_.add(row_kernel(KernelId::channel_stats_64, problem_.head_dim), {grid_of(plan_.queries)}, params);
    } else {
      sum_channels(queries_, nullptr, scratch_.q_mean);
    }
    queries_.mean = scratch_.q_mean;
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
    of(queries_, Role::q, Granularity::tensor, scratch_.q_range);
    of(keys_, Role::k, Granularity::tensor, scratch_.k_range);
    of(values_, Role::v, plan_.v_granularity == Granularity::channel ? Granularity::channel : Granularity::tensor,
       scratch_.v_range);
  }

  PackParams pack_params(const RowSteps& steps, Role role, const RangeArrays& ranges) const {
    PackParams params;
    params.steps = steps;
    params.groups = spec::groups_of(role, plan_.recipe);
    params.ranges = ranges;
    params.rule = scale_rule(plan_.recipe, role);
    params.format = plan_.qk_format;
    params.e5m2 = plan_.recipe.scores == Format::e5m2;
    params.dim = plan_.dim;
    return params;
  }

  void pack_keys() {
    PackParams params = pack_params(keys_, Role::k, scratch_.k_range);
    params.codes = scratch_.k.codes;
    params.factor = scratch_.k.factor;
    params.addend = scratch_.k.addend;
    params.permuted = plan_.permuted_keys();
    launches_.add(row_kernel(KernelId::pack_rows_64, plan_.dim), {grid_of(plan_.keys), kCodeWarps, kCodeSharedBytes},
                  params);
  }

  void pack_values() {
    PackValuesParams params;
    params.steps = values_;
    params.granularity = plan_.divides_v ? Granularity::tensor : plan_.v_granularity;
    params.ranges = scratch_.v_range;
    params.rule = scale_rule(plan_.recipe, Role::v);
    params.format = plan_.v_format;
    params.e5m2 = plan_.recipe.values == Format::e5m2;
    params.divide = plan_.divides_v;
    if (problem_.v.quantized || plan_.plain_v_ranges) params.prescale_amax = scratch_.v_plain.amax;
    params.dim = plan_.dim;
    params.codes = scratch_.v.codes;
    params.tile_keys = value_tile_keys(plan_.qk_format, plan_.v_format);
    params.flip = scratch_.v.flip;
    params.column_scale = scratch_.v.column_scale;
    params.token_scale = scratch_.v_token_scale;
    params.largest = scratch_.largest_v_scale;
    params.by_exponent = scratch_.v_by_exponent;
    launches_.add(row_kernel(KernelId::pack_values_64, plan_.dim),
                  {grid_of(plan_.keys), kCodeWarps, pack_values_shared_bytes(static_cast<std::uint32_t>(plan_.dim))},
                  params);

    if (scratch_.v_by_exponent.count != nullptr) {
      const LargestScaleParams largest{problem_.kv_heads, scratch_.v_by_exponent, scratch_.largest_v_scale};
      launches_.add(KernelId::find_largest_scales, {{problem_.kv_heads, problem_.batch, 1}}, largest);
    }

    ValueFactorParams factors;
    factors.heads = problem_.kv_heads;
    factors.value_dim = problem_.value_dim;
    factors.dim = plan_.dim;
    factors.granularity = plan_.v_granularity;
    factors.divide = plan_.divides_v;
    factors.ranges = scratch_.v_range;
    factors.rule = params.rule;
    const bool whole = plan_.v_granularity == Granularity::tensor || plan_.v_granularity == Granularity::channel;
    if (problem_.v.quantized && whole) factors.scales = problem_.v.scales;
    factors.prescale_amax = params.prescale_amax;
    factors.value_amax = scratch_.v_plain.amax;
    factors.largest = scratch_.largest_v_scale;
    factors.mean = problem_.v.quantized ? problem_.v.mean : scratch_.v_mean;
    factors.output_factor = scratch_.v.output_factor;
    factors.output_addend = scratch_.v.output_addend;
    factors.output_rescale = scratch_.v.output_rescale;
    launches_.add(KernelId::value_factors, {{problem_.kv_heads, problem_.batch, 1}}, factors);

    if (!plan_.steps.fold) return;
    FoldParams fold;
    fold.sequences = plan_.keys;
    fold.token_scale = scratch_.v_token_scale;
    fold.largest = scratch_.largest_v_scale;
    fold.addend = scratch_.k.addend;
    fold.inverse = scratch_.k.inverse;
    fold.fold = scratch_.k.fold;
    launches_.add(KernelId::fold_scales, {grid_of(plan_.keys)}, fold);
  }

  const float* key_mean() const { return problem_.k.quantized ? problem_.k.mean : keys_.mean; }

  void pack_queries() {
    PackParams params = pack_params(queries_, Role::q, scratch_.q_range);
    params.codes = scratch_.q.codes;
    params.factor = scratch_.q.factor;
    params.factor_scale = logit_scale_;
    params.codes_low = scratch_.q.codes_low;
    params.q16 = plan_.q16;
    params.logit_offset = key_mean() != nullptr ? scratch_.q.smooth_k_logit_offset : nullptr;
    params.key_mean = key_mean();
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.softmax_scale = static_cast<float>(problem_.softmax_scale);
    launches_.add(row_kernel(KernelId::pack_rows_64, plan_.dim), {grid_of(plan_.queries), kCodeWarps, kCodeSharedBytes},
                  params);
    // Score modifications hide keys that do not exist from NaN rows, too; nothing else needs to look at them.
    if (problem_.key_mask.data == nullptr || plan_.steps.score_mod) return;
    BlindRowsParams blind;
    blind.queries = plan_.queries;
    blind.keys = plan_.keys;
    blind.heads_per_kv_head = params.heads_per_kv_head;
    blind.causal = problem_.causal;
    blind.window_left = problem_.window_left, blind.window_right = problem_.window_right;
    blind.seen = scratch_.seen;
    blind.factor = scratch_.q.factor;
    launches_.add(KernelId::clear_blind_rows, {grid_of(plan_.queries), kCodeWarps}, blind);
  }

  void unrotate_means() {
    if (!plan_.smooth_q_bias) return;
    UnrotateMeansParams params;
    params.queries = plan_.queries;
    params.dim = problem_.head_dim;
    // Codes of K stand for rotated, smoothed rows: there the mean stays as it is.
    params.rotate = plan_.steps.rotate_qk && !problem_.k.quantized;
    params.mean = problem_.q.quantized ? problem_.q.mean : scratch_.q_mean;
    params.means_per_head = problem_.q.quantized ? problem_.q.means_per_head : 0;
    params.key_mean = problem_.k.quantized ? nullptr : keys_.mean;
    params.gain = keys_.gain;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.unrotated = scratch_.unrotated_q_means;
    params.dot_key_mean = scratch_.dot_key_mean;
    launches_.add(row_kernel(KernelId::unrotate_means_64, problem_.head_dim), {grid_of(plan_.queries)}, params);
  }

  const AttentionPlan& plan_;
  const Problem& problem_;
  const AttentionScratch scratch_;
  Launches launches_;
  RowSteps queries_, keys_, values_;
  float logit_scale_ = 1;
};

}  // namespace

std::size_t workspace_size(const Implementation& implementation, const Problem& problem,
                           const DeviceProperties& device) {
  return problem.batch == 0 || problem.q_rows == 0 ? 0 : AttentionPlan(implementation, problem, device).bytes;
}

Status attention(const Implementation& implementation, const Problem& problem, const DeviceProperties& device,
                 const Execution& execution, CallReport& report) {
  if (problem.batch == 0 || problem.q_rows == 0) return DeviceWorkspace(execution, problem.device.index, 0).status();
  const AttentionPlan plan(implementation, problem, device);
  const DeviceWorkspace scratch(execution, problem.device.index, plan.bytes);
  if (!scratch.status().ok()) return scratch.status();
  report.workspace_bytes = plan.bytes;
  return AttentionDriver(plan, {problem.device.index, execution.stream, scratch.data()}).run();
}

}  // namespace octavo::cuda
