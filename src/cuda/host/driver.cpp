// The launches of an attention call on a device, each for all operands whose inputs are ready:
//   places of the caller's scales | keys that exist | statistics of blocks of rows | of heads | ranges of whole tensors
//   | K, Q and V packed | chunks of query blocks, the fold's vectors with the first (attend_chunks.hpp)
// Grids are sized by the tensors' extents; kernels find their sequence.
#include <algorithm>
#include <array>
#include <numbers>

#include "cuda/host/attend_chunks.hpp"
#include "cuda/host/implementation.hpp"
#include "cuda/host/launch.hpp"
#include "cuda/host/plan.hpp"
#include "cuda/host/scale_places.hpp"
#include "cuda/host/workspace.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/format.hpp"

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
    find_scale_places();
    mark_seen();
    find_stats_of_k();
    find_stats_of_q();
    find_stats_of_v();
    launch_stats();
    find_stats_of_heads();
    find_ranges();
    pack();
    clear_blind_rows();
    return attend_chunks(launches_, plan_, scratch_, {queries_, keys_, values_, fold(), value_factors(pack_values())},
                         key_mean() != nullptr);
  }

 private:
  // Where scales and means of the caller's codes of varlen sequences begin.
  void find_scale_places() {
    ScalePlaceParams params;
    std::int64_t count = 0;
    const auto of = [&](RowSteps& steps, Role role, spec::ScalePlace* places) {
      if (places == nullptr) return;
      const spec::Groups groups = spec::groups_of(role, plan_.recipe);
      params.of[count++] = scales_of_sequences(steps.x, groups, steps.sequences, places);
      steps.x.places = places;
    };
    of(queries_, Role::q, scratch_.q_places);
    of(keys_, Role::k, scratch_.k_places);
    of(values_, Role::v, scratch_.v_places);
    launches_.add(KernelId::find_scale_places, {{count, 1, 1}}, params);
  }

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

  // Statistics of blocks of rows, by the pass that takes them: the first, or one after it.
  static constexpr int kPasses = 2;
  void add_stats(int pass, const StatsParams& of) {
    StatsOfOperands& to = passes_[static_cast<std::size_t>(pass)];
    to.of[to.count++] = of;
  }
  // Whether head_stats() takes the place of a second pass.
  bool few_blocks() const { return plan_.key_blocks() <= kFewBlocks; }

  void launch_stats() {
    for (StatsOfOperands& pass : passes_) {
      launches_.add_stats(pass);
      pass.count = 0;
    }
  }

  // K's sums, and what its gains need.
  void find_stats_of_k() {
    if (scratch_.k_sums == nullptr) return add_range_of_k();
    StatsParams of;
    of.steps = keys_;
    if (plan_.steps.k_needs.as_given) of.steps.rotate = false;
    of.robust = plan_.steps.robust;
    of.exponents = scratch_.k_exponents;
    of.of_largest = scratch_.k_largest_exponent;
    of.sums = scratch_.k_sums;
    of.extremes = scratch_.k_extremes;
    add_stats(0, of);
    of.again = true;
    if (!plan_.steps.robust) return;
    if (few_blocks()) {
      of_heads_.repeats_k = true, of_heads_.k_again = of;
    } else {
      add_stats(1, of);
    }
  }

  // Means of Q's blocks, except where gains come first; then their spreads.
  void find_stats_of_q() {
    if (!plan_.steps.qk_gains && scratch_.q_mean == nullptr) return add_range_of_q(0);
    StatsParams of = stats_of_q();
    of.steps.rotate = !plan_.steps.qk_gains && queries_.rotate;
    if (plan_.steps.qk_gains) {
      of.spread = scratch_.q_spread;
    } else {
      of.mean = scratch_.q_mean;
    }
    add_stats(0, of);
  }
  StatsParams stats_of_q() const {
    StatsParams of;
    of.steps = queries_;
    of.robust = plan_.steps.robust;
    of.of_block = true;
    return of;
  }

  // The largest magnitude of V as given, which decides whether V is prescaled; then its sums.
  void find_stats_of_v() {
    int pass = 0;
    if (scratch_.v_plain.amax != nullptr && problem_.v.quantized) {
      ScaleRangeParams params;
      params.sequences = plan_.keys;
      params.groups = spec::groups_of(Role::v, plan_.recipe);
      params.x = values_.x;
      params.largest_code = spec::range_of(problem_.v.dtype) + 1;  // -128 and -8 are codes, too
      params.amax = scratch_.v_plain.amax;
      launches_.add(KernelId::range_scales, {{problem_.kv_heads, problem_.batch, 1}, kCodeWarps}, params);
    } else if (scratch_.v_plain.amax != nullptr) {
      StatsParams of = range_of(values_, Role::v, Granularity::tensor, scratch_.v_plain);
      of.steps.rotate = false;
      add_stats(pass++, of);
      values_.prescale_amax = scratch_.v_plain.amax;
    }
    if (scratch_.v_sums == nullptr) return add_range_of_v(pass);
    StatsParams of;
    of.what = plan_.steps.v_needs.centre ? RowStat::weighted : RowStat::channels;
    of.steps = values_;
    if (plan_.steps.v_needs.centre) of.steps.rotate = false;
    of.sums = scratch_.v_sums;
    if (pass > 0 && few_blocks()) {  // taken again where V turns out to be prescaled
      of_heads_.repeats_v = true, of_heads_.v_again = of;
      of.steps.prescale_amax = nullptr;
      pass = 0;
    }
    add_stats(pass, of);
  }

  // Means of K and V, gains of Q and K.
  void find_stats_of_heads() {
    HeadStatsParams& params = of_heads_;
    if (scratch_.k_sums != nullptr) {
      params.k = {plan_.keys, problem_.head_dim, scratch_.k_sums, scratch_.k_mean};
      if (plan_.steps.smooth_k) keys_.mean = scratch_.k_mean;
    }
    if (scratch_.v_sums != nullptr) {
      const bool centre = plan_.steps.v_needs.centre;
      params.v = {plan_.keys, problem_.value_dim, scratch_.v_sums, scratch_.v_mean, centre, centre && values_.rotate};
      values_.mean = scratch_.v_mean;
    }
    if (plan_.steps.qk_gains) add_gains(params.gains);
    queries_.mean_of_block = true;
    queries_.mean = scratch_.q_mean;
    launches_.add_head_stats(params, plan_.dim);
  }
  void add_gains(GainParams& params) {
    params.queries = plan_.queries;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.rotate = plan_.steps.rotate_qk;
    params.extremes = scratch_.k_extremes;
    params.spread = scratch_.q_spread;
    params.of_k = scratch_.gain_of_k;
    params.of_q = scratch_.gain_of_q;
    params.block_means = keys_.block_means = scratch_.block_means;
    keys_.gain = scratch_.gain_of_k;
    queries_.gain = scratch_.gain_of_q;
    queries_.heads_per_gain = params.heads_per_kv_head;
  }

  static StatsParams range_of(const RowSteps& steps, Role role, Granularity granularity, const RangeArrays& ranges) {
    StatsParams of;
    of.what = RowStat::ranges;
    of.steps = steps;
    of.groups = spec::Groups{granularity, role, 1};
    of.array.per_head = granularity == Granularity::channel ? steps.x.dim : 1;
    of.ranges = ranges;
    return of;
  }

  void add_range_of_k() {
    if (scratch_.k_range.amax != nullptr) {
      add_stats(0, range_of(keys_, Role::k, Granularity::tensor, scratch_.k_range));
    }
  }
  void add_range_of_q(int pass) {
    if (scratch_.q_range.amax != nullptr) {
      add_stats(pass, range_of(queries_, Role::q, Granularity::tensor, scratch_.q_range));
    }
  }
  void add_range_of_v(int pass) {
    if (scratch_.v_range.amax == nullptr || plan_.plain_v_ranges) return;
    const bool by_channel = plan_.v_granularity == Granularity::channel;
    const Granularity granularity = by_channel ? Granularity::channel : Granularity::tensor;
    add_stats(pass, range_of(values_, Role::v, granularity, scratch_.v_range));
  }

  // Those of rows with means: all others are known.
  void find_ranges() {
    if (scratch_.k_sums != nullptr) add_range_of_k();
    if (scratch_.v_sums != nullptr) add_range_of_v(0);
    const bool with_mean = mean_in_pack() && scratch_.q_range.amax != nullptr;
    if (with_mean) {
      StatsParams of = stats_of_q();
      of.mean = scratch_.q_mean;
      add_stats(0, of);
    }
    if (plan_.steps.qk_gains || scratch_.q_mean != nullptr) add_range_of_q(with_mean ? 1 : 0);
    launch_stats();
  }
  // Gains come before the means of Q's blocks.
  bool mean_in_pack() const { return plan_.steps.qk_gains && scratch_.q_mean != nullptr; }

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

  const float* key_mean() const { return problem_.k.quantized ? problem_.k.mean : keys_.mean; }

  // All operands in one launch.
  void pack() {
    PackCallParams params;
    params.rows[0] = pack_keys();
    params.rows[1] = pack_queries();
    if (mean_in_pack() && scratch_.q_range.amax == nullptr) {
      params.q_mean = stats_of_q();
      params.q_mean.steps.mean = nullptr;
      params.q_mean.mean = scratch_.q_mean;
    }
    if (plan_.smooth_q_bias) params.unrotate = unrotate_means();
    params.v = pack_values();
    params.factors = value_factors(params.v);
    params.parts = plan_.steps.fold ? 3 : 4;
    const std::int64_t blocks = std::max({plan_.query_blocks(), plan_.key_blocks(), std::int64_t{1}});
    const std::uint32_t shared = std::max(
        {kCodeSharedBytes, kStatsSharedBytes, pack_values_shared_bytes(static_cast<std::uint32_t>(plan_.dim))});
    launches_.add(row_kernel(KernelId::pack_call_64, plan_.dim),
                  {{params.parts * blocks, problem_.q_heads, plan_.batches()}, kCodeWarps, shared}, params);
  }

  PackParams pack_keys() const {
    PackParams params = pack_params(keys_, Role::k, scratch_.k_range);
    params.codes = scratch_.k.codes;
    params.factor = scratch_.k.factor;
    params.addend = scratch_.k_presence;
    params.permuted = plan_.permuted_keys();
    return params;
  }

  PackValuesParams pack_values() const {
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
    return params;
  }

  ValueFactorParams value_factors(const PackValuesParams& v) const {
    ValueFactorParams factors;
    factors.sequences = problem_.batch;
    factors.varlen = plan_.keys.varlen();
    factors.heads = problem_.kv_heads;
    factors.value_dim = problem_.value_dim;
    factors.dim = plan_.dim;
    factors.granularity = plan_.v_granularity;
    factors.divide = plan_.divides_v;
    factors.ranges = scratch_.v_range;
    factors.rule = v.rule;
    const bool whole = plan_.v_granularity == Granularity::tensor || plan_.v_granularity == Granularity::channel;
    if (problem_.v.quantized && whole) factors.scales = problem_.v.scales;
    factors.prescale_amax = v.prescale_amax;
    factors.value_amax = scratch_.v_plain.amax;
    factors.largest = {scratch_.largest_v_scale, scratch_.v_by_exponent};
    factors.mean = problem_.v.quantized ? problem_.v.mean : scratch_.v_mean;
    factors.output_factor = scratch_.v.output_factor;
    factors.output_addend = scratch_.v.output_addend;
    factors.output_rescale = scratch_.v.output_rescale;
    return factors;
  }

  FoldParams fold() const {
    FoldParams params;
    params.presence = scratch_.k_presence;
    if (!plan_.steps.fold) return params;
    params.sequences = plan_.keys;
    params.token_scale = scratch_.v_token_scale;
    params.largest = {scratch_.largest_v_scale, scratch_.v_by_exponent};
    params.fold = scratch_.k.fold;
    if (params.fold == nullptr) params.addend = scratch_.k.addend;
    params.inverse = scratch_.k.inverse;
    return params;
  }

  PackParams pack_queries() const {
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
    return params;
  }

  // Score modifications hide keys that do not exist from NaN rows, too; nothing else needs to look at them.
  void clear_blind_rows() {
    if (problem_.key_mask.data == nullptr || plan_.steps.score_mod) return;
    BlindRowsParams blind;
    blind.queries = plan_.queries;
    blind.keys = plan_.keys;
    blind.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    blind.causal = problem_.causal;
    blind.window_left = problem_.window_left, blind.window_right = problem_.window_right;
    blind.seen = scratch_.seen;
    blind.factor = scratch_.q.factor;
    launches_.add(KernelId::clear_blind_rows, {grid_of(plan_.queries), kCodeWarps}, blind);
  }

  UnrotateMeansParams unrotate_means() const {
    UnrotateMeansParams params;
    params.queries = plan_.queries;
    params.dim = problem_.head_dim;
    // Codes of K stand for rotated, smoothed rows: there the mean stays as it is.
    params.rotate = plan_.steps.rotate_qk && !problem_.k.quantized;
    if (problem_.q.quantized) params.given = queries_.x;
    params.mean = scratch_.q_mean;
    params.key_mean = problem_.k.quantized ? nullptr : keys_.mean;
    params.gain = keys_.gain;
    params.heads_per_kv_head = problem_.q_heads / problem_.kv_heads;
    params.unrotated = scratch_.unrotated_q_means;
    params.dot_key_mean = scratch_.dot_key_mean;
    return params;
  }

  const AttentionPlan& plan_;
  const Problem& problem_;
  const AttentionScratch scratch_;
  Launches launches_;
  RowSteps queries_, keys_, values_;
  std::array<StatsOfOperands, kPasses> passes_;
  HeadStatsParams of_heads_;
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
