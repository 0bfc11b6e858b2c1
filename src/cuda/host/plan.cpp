// How a problem becomes a plan: which steps the recipe needs, how many query blocks fit into the memory for smooth_q's
// bias at once, and the layout of scratch memory.
#include "cuda/host/plan.hpp"

#include <algorithm>
#include <limits>

#include "cuda/attention/tile_shape.hpp"
#include "cuda/host/head_tiles.hpp"
#include "cuda/host/scale_places.hpp"
#include "cuda/host/wgmma_attention.hpp"
#include "cuda/operands/bf16_planes.hpp"
#include "spec/format.hpp"
#include "spec/q16.hpp"

namespace octavo::cuda {
namespace {

// Scratch memory for smooth_q's bias, offsets of block means and unfinished rows: bounds what one launch works on. 128
// MiB hold 64 query blocks of 32 heads against 16384 keys, two thousand thread blocks, several times what a GPU runs at
// once.
constexpr std::size_t kBiasBytes = std::size_t{128} << 20;
// At most this part of a small GPU's memory.
constexpr std::size_t kBiasShare = 64;

// Formats of the packed operands; a recipe that supports() accepts has one.
PackedFormat packed_format(Format format, DType input) {
  if (spec::is_integer(format)) return PackedFormat::s8;
  if (format == Format::f16) return PackedFormat::f16;
  if (spec::is_float8(format)) return PackedFormat::float8;
  return input == DType::f32 ? PackedFormat::f32 : input == DType::bf16 ? PackedFormat::bf16 : PackedFormat::f16;
}

// Whether mma.sync multiplies numbers of E4M3 as they are; 9.0 and 10.0 convert them to f16.
bool multiplies_e4m3(const DeviceProperties& device) { return device.capability() == 89 || device.major == 12; }

// Whether it multiplies codes of s4: from 9.0 on they are converted to s8 first.
bool multiplies_s4(const DeviceProperties& device) { return device.major == 8; }

}  // namespace

OperandFormats formats_of(const Problem& problem, bool e4m3_values, bool e4m3_scores) {
  const Recipe& recipe = problem.recipe;
  OperandFormats to{packed_format(recipe.scores, problem.q.dtype), packed_format(recipe.values, problem.v.dtype)};
  const bool of_e4m3 = recipe.values == Format::e4m3 && recipe.p == WeightFormat::e4m3;
  if (!of_e4m3) return to;
  if (e4m3_values && to.qk == PackedFormat::s8) to.v = PackedFormat::e4m3;
  if (e4m3_scores && recipe.scores == Format::e4m3) to.qk = to.v = PackedFormat::e4m3;
  return to;
}

AttentionPlan::AttentionPlan(const Implementation& implementation, const Problem& its, const DeviceProperties& device)
    : problem(its), recipe(its.recipe), multiprocessors(device.multiprocessors) {
  dim = packed_dim(problem.head_dim, problem.value_dim);
  queries = device_sequences(problem.batch, problem.q_heads, problem.q_rows, {}, problem.cu_seqlens_q);
  keys = device_sequences(problem.batch, problem.kv_heads, problem.k_rows, problem.kv_lens, problem.cu_seqlens_k);
  const bool uses_wgmma = implementation.wgmma && key_blocks() > 0;
  const OperandFormats formats = formats_of(problem, uses_wgmma || multiplies_e4m3(device), uses_wgmma);
  qk_format = formats.qk, v_format = formats.v;
  f16_sums = recipe.accumulator == Accumulator::f16;
  wgmma = uses_wgmma && has_wgmma_attention(qk_format, v_format, f16_sums, dim);
  choose_steps();
  if (multiplies_s4(device) && has_s4_attention()) qk_format = PackedFormat::s4;
  const std::size_t most_bytes = std::min(kBiasBytes, device.memory_bytes / kBiasShare);
  choose_tasks(most_bytes);
  choose_chunk(most_bytes);
  const bool uneven = problem.causal != Causal::none || problem.window_left >= 0 || problem.window_right >= 0 ||
                      problem.varlen() || problem.kv_lens.data != nullptr;
  uneven_tasks = wgmma && uneven && head_tiles(chunk.heads) * chunk.batches * chunk.blocks * parts > multiprocessors;
  bytes = lay_out(*this, nullptr).bytes;
}

void AttentionPlan::choose_steps() {
  steps = spec::steps_of(problem);
  smooth_q_bias = spec::has_smooth_q_bias(problem, spec::kQ16Rows);
  q16 = spec::takes_q16(problem, 1);
  // Robust recipes look at what rows see; without a mask that is all keys unless a window or a top-left diagonal ends.
  const bool some_unseen = problem.causal == Causal::top_left || problem.window_left >= 0 || problem.window_right >= 0;
  marks_seen = steps.hides_keys || (steps.robust && some_unseen);
  keeps_heavy = steps.keeps && recipe.smooth_q;
  divides_v = recipe.values == Format::f16;
  const bool scaled = spec::is_integer(recipe.values) || spec::is_float8(recipe.values);
  v_granularity = scaled ? recipe.v_scale : Granularity::none;
  // f16 cannot be that large; codes without scales cannot either.
  if (problem.v.dtype == DType::f16 || (problem.v.quantized && problem.v.scales == nullptr)) steps.v_prescale = false;
  plain_v_ranges = steps.v_prescale && steps.v_needs.extremes && v_granularity != Granularity::channel &&
                   !steps.rotate_v && !steps.smooth_v;
}

bool AttentionPlan::folded() const {
  return steps.fold && !steps.running_maximum && !steps.sum_codes && is_integer(qk_format) &&
         v_format == PackedFormat::s8;
}

bool AttentionPlan::takes_every_option() const {
  return steps.score_mod || recipe.p == WeightFormat::u16 || (steps.keeps && !folded());
}

// host/s4_kernels.inc and s4_e4m3_kernels.inc: 16-bit Q would need K in bytes, weights of two bytes have one kernel,
// and with values of s8 there is beside the kernel with every option only that of the fold without kept keys.
bool AttentionPlan::has_s4_attention() const {
  const bool some_q16 = spec::takes_q16(problem, problem.varlen() ? 1 : problem.q_rows);
  if (recipe.scores != Format::s4 || dim > kMostS4Channels || some_q16 || recipe.p == WeightFormat::u16) return false;
  if (v_format == PackedFormat::float8 || v_format == PackedFormat::e4m3) return true;
  return v_format == PackedFormat::s8 && (takes_every_option() || (folded() && !steps.keeps));
}

std::int64_t AttentionPlan::head_tiles(std::int64_t heads) const {
  return shared.heads == 1 ? heads : heads / (problem.q_heads / problem.kv_heads) * shared.of_kv_head;
}

// Whether heads of a KV head may share tiles: sequences of packed batches have rows of their own number, and kernels by
// mma.sync have room for the addends of one head, where smooth_q's bias is in them.
bool AttentionPlan::may_share_tiles() const {
  return !problem.varlen() && (!spec::has_smooth_q_bias(problem, problem.q_rows) || (wgmma && is_byte(qk_format)));
}

// Heads share tiles where the call then costs less and those of a KV head have room in scratch memory at once; tasks
// share keys.
void AttentionPlan::choose_tasks(std::size_t most_bytes) {
  const bool short_queries = q16 && problem.q_rows < spec::kQ16Rows;  // never by wgmma
  TaskCount count;
  count.batches = batches(), count.q_heads = problem.q_heads, count.kv_heads = problem.kv_heads;
  count.rows = problem.q_rows, count.blocks = query_blocks(), count.key_blocks = key_blocks();
  count.dim = dim, count.multiprocessors = multiprocessors;
  if (!wgmma || short_queries) count.tile_rows = 16 * attention_warps(qk_format, dim);
  if (short_queries) count.least_rows = 2 * spec::kQ16Rows;  // of codes and their low plane
  count.may_share = may_share_tiles();
  count.may_split = may_split();
  count.varlen = problem.varlen();
  shared = count.tiles();
  parts = count.parts(shared);
  if (shared.heads == 1 || blocks_in(most_bytes) >= count.group()) return;
  shared = {};
  parts = count.parts(shared);
}

// Codes relative to the running maximum are defined by all keys before theirs: a part would have others.
bool AttentionPlan::may_split() const {
  const WeightFormat p = recipe.p;
  return !steps.running_maximum || p == WeightFormat::f16 || p == WeightFormat::input;
}

// What a query block that another kernel finishes hands on.
std::int64_t AttentionPlan::unfinished_bytes() const {
  return leaves_rows() ? parts * kPackedRows * (dim + 4) * 4 + (steps.keeps ? kHeavyList * 4 : 0) : 0;
}

// How many query blocks there is memory for: for their bias, their offsets and what they hand on.
std::int64_t AttentionPlan::blocks_in(std::size_t most_bytes) const {
  const std::int64_t vectors = (smooth_q_bias ? 1 : 0) + (steps.block_means ? 1 : 0);
  const std::int64_t of_bias = vectors * std::max<std::int64_t>(key_blocks(), 1) * kPackedRows * 4;
  const std::int64_t block_bytes = of_bias + unfinished_bytes();
  return block_bytes == 0 ? std::numeric_limits<std::int64_t>::max()
                          : static_cast<std::int64_t>(most_bytes) / block_bytes;
}

// As many query blocks as there is memory for, at least one: of all heads, else of some, but of whole groups where
// those of a KV head share tiles.
void AttentionPlan::choose_chunk(std::size_t most_bytes) {
  const std::int64_t group = shared.heads == 1 ? 1 : problem.q_heads / problem.kv_heads;
  const std::int64_t most = std::max<std::int64_t>(blocks_in(most_bytes), 1), groups = most / group;
  chunk.batches = std::min(batches(), groups);
  chunk.heads = std::min(problem.q_heads, groups / chunk.batches * group);
  chunk.blocks = std::min(query_blocks(), most / (chunk.batches * chunk.heads));
}

AttentionScratch lay_out(const AttentionPlan& plan, std::byte* memory) {
  const Problem& problem = plan.problem;
  const std::int64_t q_heads = problem.batch * problem.q_heads, kv_heads = problem.batch * problem.kv_heads;
  const std::int64_t q_rows = packed_q_rows(plan), k_rows = packed_k_rows(plan);
  const std::int64_t q_blocks = q_rows / kPackedRows, k_blocks = k_rows / kPackedRows;
  const std::int64_t head_dim = problem.head_dim, value_dim = problem.value_dim, dim = plan.dim;
  const std::int64_t v_count = plan.v_granularity == Granularity::channel ? kv_heads * value_dim : kv_heads;
  Parts parts(memory);
  AttentionScratch to;

  const bool k_tensor = plan.recipe.k_scale == Granularity::tensor && !problem.k.quantized;
  const std::int64_t of_q = plan.steps.q_range ? q_heads : 0, of_k = k_tensor ? kv_heads : 0;
  const std::int64_t of_v = plan.steps.v_needs.extremes ? v_count : 0, of_fold = plan.steps.fold ? kv_heads : 0;
  const std::int64_t plain = plan.steps.v_prescale && !plan.plain_v_ranges ? kv_heads : 0;
  const std::int64_t k_exponents = plan.steps.robust && plan.steps.k_needs.sums ? 256 * kv_heads : 0;
  const std::int64_t v_exponents = plan.steps.robust && plan.steps.fold ? 256 * kv_heads : 0;
  to.zeroed_count =
      2 * (of_q + of_k + of_v + plain + v_exponents) + of_fold + k_exponents + (plan.uneven_tasks ? 1 : 0);
  to.zeroed = parts.take<std::uint32_t>(to.zeroed_count);
  std::uint32_t* next = to.zeroed;
  const auto take = [&](std::int64_t count) {
    std::uint32_t* const part = next;
    if (next != nullptr) next += count;
    return count > 0 ? part : nullptr;
  };
  to.q_range = {take(of_q), take(of_q)};
  to.k_range = {take(of_k), take(of_k)};
  to.v_range = {take(of_v), take(of_v)};
  to.v_plain = plan.plain_v_ranges ? to.v_range : RangeArrays{take(plain), take(plain)};
  to.largest_v_scale = take(of_fold);
  to.k_exponents = take(k_exponents);
  to.v_by_exponent = {take(v_exponents), take(v_exponents)};
  to.asked_tasks = take(plan.uneven_tasks ? 1 : 0);

  const auto floats = [&](bool wanted, std::int64_t count) { return parts.take<float>(wanted ? count : 0); };
  const auto bytes = [&](bool wanted, std::int64_t count) { return parts.take<std::uint8_t>(wanted ? count : 0); };
  const bool own_k_mean = plan.steps.k_needs.sums, own_v_mean = plan.steps.v_needs.sums || plan.steps.v_needs.centre;
  to.k_sums = floats(own_k_mean, k_blocks * 2 * head_dim);
  to.v_sums = floats(own_v_mean, k_blocks * 2 * value_dim);
  to.k_mean = floats(own_k_mean, kv_heads * head_dim);
  to.v_mean = floats(own_v_mean, kv_heads * value_dim);
  to.k_largest_exponent = parts.take<std::uint32_t>(k_exponents > 0 ? k_blocks : 0);
  to.k_extremes = floats(plan.steps.qk_gains, k_blocks * 2 * head_dim);
  to.q_spread = floats(plan.steps.qk_gains, q_blocks * head_dim);
  to.gain_of_k = floats(plan.steps.qk_gains, kv_heads * head_dim);
  to.gain_of_q = floats(plan.steps.qk_gains, kv_heads * head_dim);
  if (plan.steps.block_means) {
    to.block_means = {parts.take<std::uint32_t>(kv_heads), floats(true, k_blocks * head_dim),
                      floats(true, k_blocks * head_dim)};
  }
  to.seen = bytes(plan.marks_seen, k_blocks * kPackedRows);
  const auto places = [&](const Operand& x, Role role) {
    const bool wanted = problem.varlen() && x.quantized && needs_places(x, spec::groups_of(role, plan.recipe));
    return parts.take<spec::ScalePlace>(wanted ? problem.batch : 0);
  };
  to.q_places = places(problem.q, Role::q);
  to.k_places = places(problem.k, Role::k);
  to.v_places = places(problem.v, Role::v);
  to.q_mean = floats(plan.smooth_q_bias && !problem.q.quantized, q_blocks * head_dim);

  to.q.codes = bytes(true, packed_bytes(plan.qk_format, q_rows * dim));
  to.q.codes_low = bytes(plan.q16, q_rows * dim);
  to.k.codes = bytes(true, packed_bytes(plan.qk_format, k_rows * dim));
  to.v.codes = bytes(true, packed_bytes(plan.v_format, k_rows * dim));
  if (plan.wgmma && plan.v_format == PackedFormat::s8) to.v.flip = kOffsetCodes;
  to.q.factor = floats(true, q_rows);
  to.q.smooth_k_logit_offset = floats(plan.steps.smooth_k_logit_offset, q_rows);
  const bool scaled_keys = is_byte(plan.qk_format) || plan.qk_format == PackedFormat::s4;
  to.k.factor = floats(scaled_keys || plan.qk_format == PackedFormat::float8, k_rows);
  to.k.addend = floats(true, k_rows);
  const bool folds_addend = plan.steps.fold && !plan.steps.score_mod;
  to.k_presence = folds_addend ? floats(true, k_rows) : to.k.addend;
  to.k.inverse = floats(plan.steps.fold, k_rows);
  to.k.fold = floats(plan.steps.fold && plan.steps.score_mod, k_rows);
  to.v_token_scale = floats(plan.steps.fold, k_rows);
  to.v.column_scale = floats(
      plan.v_granularity == Granularity::block || plan.v_granularity == Granularity::block_channel, k_blocks * dim);
  to.v.output_factor = floats(true, kv_heads * dim);
  to.v.output_rescale = floats(plan.steps.v_prescale, kv_heads);
  to.v.output_addend = floats(plan.steps.smooth_v, kv_heads * dim);
  const std::int64_t mean_words = kPlanesOfF32 * packed_dim(head_dim, 0) / 2;
  to.unrotated_q_means = parts.take<std::uint32_t>(plan.smooth_q_bias ? q_blocks * mean_words : 0);
  to.dot_key_mean = floats(plan.smooth_q_bias, q_blocks);
  to.smooth_q_bias.keys = plan.key_blocks() * kPackedRows;
  const Chunk& chunk = plan.chunk;
  to.smooth_q_bias.addend = floats(plan.smooth_q_bias, chunk.batches * chunk.heads * chunk.blocks *
                                                           std::max<std::int64_t>(to.smooth_q_bias.keys, kPackedRows));
  if (plan.steps.block_means) {
    to.block_offsets.taken = to.block_means.taken;
    to.block_offsets.key_blocks = plan.key_blocks();
    to.block_offsets.of_row = floats(
        true, chunk.batches * chunk.heads * chunk.blocks * kPackedRows * std::max<std::int64_t>(plan.key_blocks(), 1));
  }
  if (plan.steps.keeps) {
    const std::int64_t blocks = chunk.batches * chunk.heads * chunk.blocks;
    to.kept = {plan.recipe.keep_first, plan.recipe.keep_near, plan.recipe.keep_heavy, plan.recipe.smooth_q};
    to.kept.heavy_keys = parts.take<std::int32_t>(plan.keeps_heavy ? blocks * kHeavyList : 0);
  }
  if (plan.leaves_rows()) {
    const std::int64_t rows = plan.parts * chunk.batches * chunk.heads * chunk.blocks * kPackedRows;
    to.unfinished = {static_cast<std::int32_t>(plan.parts), floats(true, rows * dim), floats(true, rows * 4)};
  }
  to.bytes = parts.bytes();
  return to;
}

}  // namespace octavo::cuda
