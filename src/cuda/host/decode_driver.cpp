// Appends to a key-value cache on a device and attention over one, in launches of up to 64 sequences:
//   append      host's changes | sums, mean (first appends) | rows | lengths
//   attention   host's changes | the mask's largest terms | splits and kept keys | end
#include <algorithm>

#include "core/text.hpp"
#include "cuda/decode/tile.hpp"
#include "cuda/host/implementation.hpp"
#include "cuda/host/launch.hpp"
#include "cuda/host/workspace.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/cache_layout.hpp"
#include "spec/mean.hpp"

namespace octavo::cuda {
namespace {

// Memory for the states of one launch: more sequences take further launches.
constexpr std::int64_t kMostStateBytes = std::int64_t{64} << 20;

std::int64_t blocks_of(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

// Blocks of threads that each copy 16 bytes at a time.
std::int64_t copy_blocks(std::int64_t bytes) {
  constexpr std::int64_t kBytesOfBlock = 16 * kCodeWarps * kLanes, kMostBlocks = 32;
  return std::min(blocks_of(bytes, kBytesOfBlock), kMostBlocks);
}

// Copies of one step; returns the first of the next.
std::int64_t add_copies(Launches& launches, const CacheChanges& changes, std::int64_t first) {
  CacheCopyParams params;
  std::int64_t count = 0, bytes = 0;
  for (; count < kCopiesOfLaunch && first < changes.copy_count; ++count, ++first) {
    const CacheCopy& copy = changes.copies[first];
    if (count > 0 && copy.step != params.copies[0].step) break;
    params.copies[count] = copy;
    bytes = std::max(bytes, copy.bytes);
  }
  launches.add(KernelId::copy_cache_bytes, {{copy_blocks(bytes), count, 1}, kCodeWarps, 0}, params);
  if (launches.status().ok()) changes.progress->copies = first;
  return first;
}

void add_move(Launches& launches, const CacheView& cache, const CacheMove& move) {
  CacheMoveParams params;
  std::int64_t most_units = 0;
  const auto add_array = [&](void* data, std::int64_t row_bits) {
    const std::int64_t units = kCacheStrip * row_bits / 8 / 16;
    params.arrays[params.array_count++] = {static_cast<std::byte*>(data), units};
    most_units = std::max(most_units, units);
  };
  const std::int64_t bits = spec::cache_bits(cache.format);
  add_array(cache.k, cache.k_columns * bits);
  add_array(cache.v, cache.v_columns * bits);
  if (cache.has_scales()) {
    add_array(cache.k_scale, 32);
    add_array(cache.v_scale, 32);
  }
  params.kv_heads = cache.kv_heads;
  params.page_strips = cache.page_size / kCacheStrip;
  params.move = move;
  const std::int64_t blocks = copy_blocks(16 * most_units * std::min(move.distance, move.count));
  launches.add(KernelId::move_cache_strips, {{blocks, cache.kv_heads, params.array_count}, kCodeWarps, 0}, params);
}

void add_changes(Launches& launches, const CacheView& cache, const CacheChanges& changes) {
  std::int64_t copies = 0, moves = 0;
  while (copies < changes.copy_count || moves < changes.move_count) {
    // A step's moves follow its copies.
    if (copies < changes.copy_count &&
        (moves == changes.move_count || changes.copies[copies].step <= changes.moves[moves].step)) {
      copies = add_copies(launches, changes, copies);
      continue;
    }
    add_move(launches, cache, changes.moves[moves++]);
    if (launches.status().ok()) changes.progress->moves = moves;
  }
  for (std::int64_t first = 0; first < changes.update_count; first += kUpdatesOfLaunch) {
    CacheUpdateParams params;
    params.words = cache.words;
    params.count = std::min(kUpdatesOfLaunch, changes.update_count - first);
    std::copy_n(changes.updates + first, params.count, params.updates);
    launches.add(KernelId::update_cache_words, {{1, 1, 1}, kCodeWarps, 0}, params);
  }
}

std::int64_t row_dim(const CacheView& cache) { return std::max(cache.head_dim, cache.value_dim); }

// Blocks of rows whose sums K's mean needs, of one entry at the most.
std::int64_t sum_blocks(const CacheAppendProblem& problem) {
  std::int64_t blocks = 0;
  for (std::int64_t i = 0; i < problem.count; ++i) {
    const CacheAppend& entry = problem.entries[i];
    if (entry.fixes_mean && entry.rows >= spec::kCacheMeanRows)
      blocks = std::max(blocks, blocks_of(entry.rows, spec::kMeanBlock));
  }
  return blocks;
}

// Warps for `rows` new tokens, wherever they begin.
std::int64_t warps_of_append(DType format, std::int64_t rows) {
  const std::int64_t size = append_tokens_of_warp(format);
  return blocks_of(rows + size - 1, size);
}

// The decisions of an attention call.
struct DecodePlan {
  std::int64_t tiles = 0, splits = 1, state_rows = 0, entries = 0;  // of a launch
  std::int64_t q_rows = 0;                                          // the most of an entry
  std::int64_t maxima_at = 0, bytes = 0;
};
DecodePlan make_plan(const CacheAttentionProblem& problem) {
  const CacheView& cache = problem.cache;
  DecodePlan plan;
  std::int64_t keys = problem.changes.captured ? cache.capacity : 1;
  for (std::int64_t i = 0; i < problem.batch; ++i) {
    keys = std::max(keys, problem.entries[i].keys);
    plan.q_rows = std::max(plan.q_rows, problem.entries[i].q_rows);
  }
  const std::int64_t rows = problem.group() * plan.q_rows;
  plan.tiles = blocks_of(rows, kDecodeRows);
  plan.splits = blocks_of(keys, kDecodeSplit);
  plan.state_rows = std::min<std::int64_t>(rows, kDecodeRows);
  constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
  const std::int64_t of_entry =
      cache.kv_heads * plan.tiles * (plan.splits + 1) * decode_state_floats(plan.state_rows, cache.v_columns) * kFloat;
  const bool maxima = problem.mask.data != nullptr && problem.mask.dtype != DType::boolean;
  plan.entries = std::clamp<std::int64_t>(kMostStateBytes / of_entry, 1, std::min(kEntriesOfLaunch, problem.batch));
  plan.maxima_at = plan.entries * of_entry;
  plan.bytes = plan.maxima_at + (maxima ? plan.entries * cache.kv_heads * rows * kFloat : 0);
  return plan;
}

Status check_supported(const CacheAttentionProblem& problem, const DecodePlan& plan) {
  const std::int64_t rows = problem.group() * plan.q_rows;
  if (problem.q_heads > kMostGridYZ) {
    return unimplemented(problem.q_heads, " query heads over a cache on a CUDA device; up to ", kMostGridYZ,
                         " are supported");
  }
  if (rows > std::int64_t{1} << 30 || problem.cache.kv_heads * plan.tiles > kMostGridYZ) {
    return unimplemented(rows, " query rows of each of ", problem.cache.kv_heads,
                         " key-value heads over a cache on a CUDA device; up to ",
                         kMostGridYZ / problem.cache.kv_heads * kDecodeRows, " are supported");
  }
  return {};
}

KernelId attention_kernel(DType format, std::int64_t dim) {
  switch (format) {
    case DType::f32:
      return KernelId::attend_cache_f32;
    case DType::f16:
      return KernelId::attend_cache_f16;
    case DType::bf16:
      return KernelId::attend_cache_bf16;
    case DType::e4m3:
      return KernelId::attend_cache_e4m3;
    case DType::s4:
      return KernelId::attend_cache_s4;
    default:
      return row_kernel(KernelId::attend_cache_s8_64, dim);
  }
}

void add_attention(Launches& launches, const DecodePlan& plan, const DecodeParams& params, std::int64_t entries) {
  const std::int64_t keeps = params.keeps() ? 1 : 0;
  launches.add(attention_kernel(params.cache.format, params.dim),
               {{plan.splits + keeps, params.cache.kv_heads * plan.tiles, entries},
                kDecodeWarps,
                DecodeShared{static_cast<std::uint32_t>(params.dim)}.bytes()},
               params);
}

}  // namespace

Status append(const CacheAppendProblem& problem, const Execution& execution) {
  const CacheView& cache = problem.cache;
  const std::int64_t blocks = sum_blocks(problem), most = std::min(kEntriesOfLaunch, problem.count);
  const std::int64_t sums = most * cache.kv_heads * blocks * 2 * cache.mean_columns;
  const DeviceWorkspace workspace(execution, cache.device.index, static_cast<std::size_t>(sums) * sizeof(float));
  if (!workspace.status().ok()) return workspace.status();
  const DeviceCall call{cache.device.index, execution.stream, workspace.data()};
  Launches launches(call);
  add_changes(launches, cache, problem.changes);
  DeviceAppendParams params;
  params.cache = cache;
  params.k = operand_rows(problem.k, cache.head_dim);
  params.v = operand_rows(problem.v, cache.value_dim);
  params.sums = reinterpret_cast<float*>(workspace.data());
  params.sum_blocks = blocks;
  const std::int64_t dim = row_dim(cache);
  for (std::int64_t first = 0; first < problem.count; first += kEntriesOfLaunch) {
    params.first_entry = first;
    params.count = std::min(kEntriesOfLaunch, problem.count - first);
    std::int64_t rows = 0;
    bool fixes_means = false;
    for (std::int64_t i = 0; i < params.count; ++i) {
      const CacheAppend& entry = problem.entries[first + i];
      params.entries[i] = {static_cast<std::int32_t>(entry.sequence), static_cast<std::int32_t>(entry.rows),
                           entry.fixes_mean ? 1 : 0};
      rows = std::max(rows, entry.rows);
      fixes_means = fixes_means || entry.fixes_mean;
    }
    if (fixes_means) {
      launches.add(row_kernel(KernelId::sum_cache_rows_64, cache.head_dim),
                   {{blocks, cache.kv_heads, params.count}, 1, 0}, params);
      launches.add(KernelId::fix_cache_means, {{cache.kv_heads, params.count, 1}, kCodeWarps, 0}, params);
    }
    launches.add(
        row_kernel(KernelId::append_cache_rows_64, dim),
        {{blocks_of(warps_of_append(cache.format, rows), kCodeWarps), 2 * cache.kv_heads, params.count}, kCodeWarps, 0},
        params);
    if (launches.status().ok() && problem.count > 0) problem.changes.progress->rows = true;
    if (rows > 0) launches.add(KernelId::advance_lengths, {{1, 1, 1}, kCodeWarps, 0}, params);
  }
  return launches.status();
}

std::size_t workspace_size(const CacheAttentionProblem& problem) {
  return static_cast<std::size_t>(make_plan(problem).bytes);
}

Status attention(const CacheAttentionProblem& problem, const Execution& execution, CallReport& report) {
  const CacheView& cache = problem.cache;
  const DecodePlan plan = make_plan(problem);
  if (Status status = check_supported(problem, plan); !status.ok()) return status;
  const DeviceWorkspace workspace(execution, cache.device.index, static_cast<std::size_t>(plan.bytes));
  if (!workspace.status().ok()) return workspace.status();
  report.workspace_bytes = static_cast<std::size_t>(plan.bytes);
  const DeviceCall call{cache.device.index, execution.stream, workspace.data()};
  Launches launches(call);
  add_changes(launches, cache, problem.changes);
  DecodeParams params;
  params.cache = cache;
  params.q = operand_rows(problem.q, cache.head_dim);
  params.out = problem.out;
  params.lse = problem.lse;
  params.lse_strides = problem.lse_strides;
  params.sinks = problem.sinks;
  params.alibi_slopes = problem.alibi_slopes;
  params.alibi = problem.alibi;
  params.mask = problem.mask;
  params.key_mask = problem.key_mask;
  params.tree_mask = problem.tree_mask;
  params.q_rows = plan.q_rows;
  params.group = problem.group();
  params.softmax_scale = static_cast<float>(problem.softmax_scale);
  params.softcap = static_cast<float>(problem.softcap);
  params.causal = problem.causal;
  params.window_left = problem.window_left;
  params.window_right = problem.window_right;
  params.dim = row_dim(cache) <= 64 ? 64 : row_dim(cache) <= 128 ? 128 : 256;
  params.tiles = static_cast<std::int32_t>(plan.tiles);
  params.splits = static_cast<std::int32_t>(plan.splits);
  params.state_rows = static_cast<std::int32_t>(plan.state_rows);
  params.state = reinterpret_cast<float*>(workspace.data());
  params.mask_maxima = reinterpret_cast<float*>(workspace.data() + plan.maxima_at);
  const std::int64_t rows = params.group * params.q_rows;
  for (std::int64_t first = 0; first < problem.batch; first += plan.entries) {
    params.first_entry = first;
    const std::int64_t count = std::min(plan.entries, problem.batch - first);
    for (std::int64_t i = 0; i < count; ++i) {
      const CacheSequence& entry = problem.entries[first + i];
      params.entries[i] = {static_cast<std::int32_t>(entry.sequence), static_cast<std::int32_t>(entry.q_begin),
                           static_cast<std::int32_t>(entry.q_rows)};
    }
    if (plan.bytes > plan.maxima_at) {
      launches.add(KernelId::find_cache_mask_maxima,
                   {{blocks_of(plan.q_rows, kCodeWarps), problem.q_heads, count}, kCodeWarps, 0}, params);
    }
    add_attention(launches, plan, params, count);
    launches.add(row_kernel(KernelId::finish_decode_rows_64, cache.value_dim),
                 {{blocks_of(rows, kCodeWarps), cache.kv_heads, count}, kCodeWarps, 0}, params);
  }
  return launches.status();
}

}  // namespace octavo::cuda
