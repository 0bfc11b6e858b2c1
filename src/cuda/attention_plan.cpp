// How a problem becomes a plan: which steps the recipe asks for, how many query blocks the correction's memory has room
// for at once, and the order in which scratch memory is laid out.
#include "cuda/attention_plan.hpp"

#include <algorithm>

#include "cuda/tile_config.hpp"
#include "spec/format.hpp"
#include "spec/query_width.hpp"
#include "spec/value_unit.hpp"

namespace octavo::cuda {
namespace {

// Formats of the packed operands; a recipe that supports() takes has one.
PackedFormat packed_format(Format format, DType input) {
  if (spec::is_integer(format)) return PackedFormat::s8;
  if (format == Format::f16) return PackedFormat::f16;
  return input == DType::bf16 ? PackedFormat::bf16 : PackedFormat::f16;
}

DeviceIntegers device_integers(const IntegerArray& from) { return {from.data, from.stride, from.dtype == DType::s64}; }

}  // namespace

AttentionPlan::AttentionPlan(const Problem& its, const DeviceProperties& device, std::byte* workspace)
    : problem(its), recipe(its.recipe) {
  dim = packed_dim(problem.head_dim, problem.value_dim);
  scores = packed_format(recipe.scores, problem.q.dtype);
  values = packed_format(recipe.values, problem.v.dtype);
  queries.count = keys.count = problem.batch;
  queries.heads = problem.q_heads, keys.heads = problem.kv_heads;
  queries.rows = problem.q_rows, keys.rows = problem.k_rows;
  queries.cu_seqlens = device_integers(problem.cu_seqlens_q);
  keys.cu_seqlens = device_integers(problem.cu_seqlens_k);
  keys.lens = device_integers(problem.kv_lens);
  const bool packed = problem.packed();
  queries.grid =
      packed ? grid_of_packed(problem.batch, problem.q_rows) : grid_of_batch(problem.q_heads, problem.q_rows);
  keys.grid = packed ? grid_of_packed(problem.batch, problem.k_rows) : grid_of_batch(problem.kv_heads, problem.k_rows);
  choose_steps();
  choose_chunk(std::min(kCorrectionBytes, device.memory_bytes / kCorrectionShare));
  lay_out(workspace);
}

void AttentionPlan::choose_steps() {
  const bool integer_scores = spec::is_integer(recipe.scores), integer_values = spec::is_integer(recipe.values);
  fold = recipe.v_scale == Granularity::token_folded;
  smooth_k = integer_scores && recipe.smooth_k;
  smooth_v = recipe.smooth_v;
  corrects = problem.q.quantized ? problem.q.mean != nullptr : integer_scores && recipe.smooth_q;
  wide = !problem.q.quantized && integer_scores && spec::query_is_wide(recipe, 1);
  owes_constant = smooth_k && (problem.lse != nullptr || problem.softcap > 0 || problem.sinks.data != nullptr);
  divides_v = recipe.values == Format::f16;
  v_granularity = integer_values ? recipe.v_scale : Granularity::none;
  q_ranges = integer_scores && !problem.q.quantized && recipe.q_scale == Granularity::tensor;
  k_ranges = integer_scores && !problem.k.quantized && recipe.k_scale == Granularity::tensor;
  v_ranges = !problem.v.quantized &&
             (divides_v || v_granularity == Granularity::tensor || v_granularity == Granularity::channel);
  // f16 ends far below.
  takes_unit = spec::takes_value_unit(recipe) && problem.v.dtype != DType::f16 &&
               (!problem.v.quantized || problem.v.scales != nullptr);
  plain_v_ranges = takes_unit && v_ranges && v_granularity != Granularity::channel && !recipe.hadamard_v && !smooth_v;
}

// As many query blocks as the correction's memory has room for: of all heads, else of some.
void AttentionPlan::choose_chunk(std::size_t correction_bytes) {
  chunk.batches = batches();
  chunk.heads = problem.q_heads;
  chunk.blocks = query_blocks();
  if (!corrects) return;
  const auto row_bytes = static_cast<std::size_t>(std::max<std::int64_t>(key_blocks(), 1) * kPackedRows * 4);
  const auto rows = static_cast<std::int64_t>(std::max<std::size_t>(correction_bytes / row_bytes, 1));
  chunk.batches = std::min(chunk.batches, rows);
  chunk.heads = std::min(chunk.heads, std::max<std::int64_t>(rows / chunk.batches, 1));
  chunk.blocks = std::min(chunk.blocks, std::max<std::int64_t>(rows / (chunk.batches * chunk.heads), 1));
}

void AttentionPlan::lay_out(std::byte* workspace) {
  const std::int64_t q_heads = problem.batch * problem.q_heads, kv_heads = problem.batch * problem.kv_heads;
  const std::int64_t q_blocks = batches() * problem.q_heads * query_blocks();
  const std::int64_t k_blocks = batches() * problem.kv_heads * key_blocks();
  const std::int64_t head_dim = problem.head_dim, value_dim = problem.value_dim;
  const std::int64_t v_count = v_granularity == Granularity::channel ? kv_heads * value_dim : kv_heads;
  Parts parts(workspace);

  const std::int64_t of_q = q_ranges ? q_heads : 0, of_k = k_ranges ? kv_heads : 0, of_v = v_ranges ? v_count : 0;
  const std::int64_t plain = takes_unit && !plain_v_ranges ? kv_heads : 0;
  zeroed_count = 2 * (of_q + of_k + of_v + plain) + (fold ? kv_heads : 0);
  zeroed = parts.take<std::uint32_t>(zeroed_count);
  std::uint32_t* next = zeroed;
  const auto take = [&](std::int64_t count) {
    std::uint32_t* const part = next;
    if (next != nullptr) next += count;
    return count > 0 ? part : nullptr;
  };
  q_range = {take(of_q), take(of_q)};
  k_range = {take(of_k), take(of_k)};
  v_range = {take(of_v), take(of_v)};
  v_plain = {take(plain), take(plain)};
  if (plain_v_ranges) v_plain = v_range;
  largest = take(fold ? kv_heads : 0);

  const bool own_k_mean = smooth_k && !problem.k.quantized, own_v_mean = smooth_v && !problem.v.quantized;
  const bool own_q_mean = corrects && !problem.q.quantized;
  k_sums = parts.take<float>(own_k_mean ? k_blocks * 2 * head_dim : 0);
  v_sums = parts.take<float>(own_v_mean ? k_blocks * 2 * value_dim : 0);
  k_mean = parts.take<float>(own_k_mean ? kv_heads * head_dim : 0);
  v_mean = parts.take<float>(own_v_mean ? kv_heads * value_dim : 0);
  q_mean = parts.take<float>(own_q_mean ? q_blocks * head_dim : 0);

  const std::int64_t packed_row = kPackedRows * dim;
  q_codes = parts.take<std::uint8_t>(q_blocks * packed_row * packed_bytes(scores));
  q_low = parts.take<std::uint8_t>(wide ? q_blocks * packed_row : 0);
  k_codes = parts.take<std::uint8_t>(k_blocks * packed_row * packed_bytes(scores));
  v_codes = parts.take<std::uint8_t>(k_blocks * packed_row * packed_bytes(values));
  q_factor = parts.take<float>(q_blocks * kPackedRows);
  q_constant = parts.take<float>(owes_constant ? q_blocks * kPackedRows : 0);
  k_factor = parts.take<float>(scores == PackedFormat::s8 ? k_blocks * kPackedRows : 0);
  k_addend = parts.take<float>(k_blocks * kPackedRows);
  k_inverse = parts.take<float>(fold ? k_blocks * kPackedRows : 0);
  k_fold = parts.take<float>(fold && problem.modifies_scores() ? k_blocks * kPackedRows : 0);
  token_scale = parts.take<float>(fold ? k_blocks * kPackedRows : 0);
  const bool by_block = v_granularity == Granularity::block || v_granularity == Granularity::block_channel;
  column_scale = parts.take<float>(by_block ? k_blocks * dim : 0);
  output_factor = parts.take<float>(kv_heads * dim);
  output_unit = parts.take<float>(takes_unit ? kv_heads : 0);
  output_addend = parts.take<float>(smooth_v ? kv_heads * dim : 0);
  means_back = parts.take<float>(corrects ? q_blocks * head_dim : 0);
  mean_constant = parts.take<float>(corrects ? q_blocks : 0);
  correction = parts.take<float>(corrects ? chunk.batches * chunk.heads * chunk.blocks *
                                                std::max<std::int64_t>(key_blocks(), 1) * kPackedRows
                                          : 0);
  bytes = parts.bytes();
}

}  // namespace octavo::cuda
