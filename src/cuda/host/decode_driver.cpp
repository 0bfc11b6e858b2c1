// Appends to a key-value cache on a device and attention over one, in launches of up to 64 sequences:
//   append      host's updates | sums, mean (first appends) | rows | lengths
//   attention   host's updates | splits and kept keys | end
#include <algorithm>

#include "core/text.hpp"
#include "cuda/decode/tile.hpp"
#include "cuda/host/implementation.hpp"
#include "cuda/host/launch.hpp"
#include "cuda/host/workspace.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/mean.hpp"

namespace octavo::cuda {
namespace {

constexpr std::int64_t kMostGrid = 65535;
// Memory for the states of one launch: more sequences take further launches.
constexpr std::int64_t kMostStateBytes = std::int64_t{64} << 20;

std::int64_t blocks_of(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

void add_updates(Launches& launches, std::int32_t* words, const CacheUpdate* updates, std::int64_t count) {
  for (std::int64_t first = 0; first < count; first += kUpdatesOfLaunch) {
    CacheUpdateParams params;
    params.words = words;
    params.count = std::min(kUpdatesOfLaunch, count - first);
    std::copy_n(updates + first, params.count, params.updates);
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

// The decisions of an attention call.
struct DecodePlan {
  std::int64_t tiles = 0, splits = 1, state_rows = 0, entries = 0;  // of a launch
  std::int64_t bytes = 0;
};
DecodePlan make_plan(const CacheAttentionProblem& problem) {
  const CacheView& cache = problem.cache;
  DecodePlan plan;
  std::int64_t keys = problem.captured ? cache.capacity : 1;
  for (std::int64_t i = 0; i < problem.batch; ++i) keys = std::max(keys, problem.entries[i].keys);
  const std::int64_t rows = problem.group() * problem.entries[0].q_rows;
  plan.tiles = blocks_of(rows, kDecodeRows);
  plan.splits = blocks_of(keys, kDecodeSplit);
  plan.state_rows = std::min<std::int64_t>(rows, kDecodeRows);
  const std::int64_t of_entry = cache.kv_heads * plan.tiles * (plan.splits + 1) *
                                decode_state_floats(plan.state_rows, cache.v_columns) *
                                static_cast<std::int64_t>(sizeof(float));
  plan.entries = std::clamp<std::int64_t>(kMostStateBytes / of_entry, 1, std::min(kEntriesOfLaunch, problem.batch));
  plan.bytes = plan.entries * of_entry;
  return plan;
}

Status check_supported(const CacheAttentionProblem& problem) {
  const auto refuse = [](const auto&... what) {
    return unimplemented(what...,
                         " over a key-value cache on a CUDA device; causal, window, softcap, sinks, key_mask "
                         "and tree_mask are supported there");
  };
  if (problem.mask.data != nullptr) return refuse("mask");
  if (problem.alibi_slopes.data != nullptr) return refuse("alibi_slopes");
  const std::int64_t rows = problem.group() * problem.entries[0].q_rows;
  if (rows > std::int64_t{1} << 30 || problem.cache.kv_heads * blocks_of(rows, kDecodeRows) > kMostGrid) {
    return unimplemented(rows, " query rows of each of ", problem.cache.kv_heads,
                         " key-value heads over a cache on a CUDA device; up to ",
                         kMostGrid / problem.cache.kv_heads * kDecodeRows, " are supported");
  }
  return {};
}

template <int kDim>
void add_attention(Launches& launches, KernelId kernel, const DecodePlan& plan, const DecodeParams& params,
                   std::int64_t entries) {
  const std::int64_t keeps = params.keeps() ? 1 : 0;
  launches.add(
      kernel,
      {{plan.splits + keeps, params.cache.kv_heads * plan.tiles, entries}, kDecodeWarps, DecodeShared<kDim>::kBytes},
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
  add_updates(launches, cache.words, problem.updates, problem.update_count);
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
    launches.add(row_kernel(KernelId::append_cache_rows_64, dim),
                 {{blocks_of(rows, kCodeWarps), 2 * cache.kv_heads, params.count}, kCodeWarps, 0}, params);
    if (rows > 0) launches.add(KernelId::advance_lengths, {{1, 1, 1}, kCodeWarps, 0}, params);
  }
  return launches.status();
}

std::size_t workspace_size(const CacheAttentionProblem& problem) {
  return static_cast<std::size_t>(make_plan(problem).bytes);
}

Status attention(const CacheAttentionProblem& problem, const Execution& execution, CallReport& report) {
  if (Status status = check_supported(problem); !status.ok()) return status;
  const CacheView& cache = problem.cache;
  const DecodePlan plan = make_plan(problem);
  const DeviceWorkspace workspace(execution, cache.device.index, static_cast<std::size_t>(plan.bytes));
  if (!workspace.status().ok()) return workspace.status();
  report.workspace_bytes = static_cast<std::size_t>(plan.bytes);
  const DeviceCall call{cache.device.index, execution.stream, workspace.data()};
  Launches launches(call);
  add_updates(launches, cache.words, problem.updates, problem.update_count);
  DecodeParams params;
  params.cache = cache;
  params.q = operand_rows(problem.q, cache.head_dim);
  params.out = problem.out;
  params.lse = problem.lse;
  params.lse_strides = problem.lse_strides;
  params.sinks = problem.sinks;
  params.key_mask = problem.key_mask;
  params.tree_mask = problem.tree_mask;
  params.q_rows = problem.entries[0].q_rows;
  params.group = problem.group();
  params.softmax_scale = static_cast<float>(problem.softmax_scale);
  params.softcap = static_cast<float>(problem.softcap);
  params.causal = problem.causal;
  params.window_left = problem.window_left;
  params.window_right = problem.window_right;
  params.tiles = static_cast<std::int32_t>(plan.tiles);
  params.splits = static_cast<std::int32_t>(plan.splits);
  params.state_rows = static_cast<std::int32_t>(plan.state_rows);
  params.state = reinterpret_cast<float*>(workspace.data());
  const std::int64_t dim = row_dim(cache), rows = params.group * params.q_rows;
  for (std::int64_t first = 0; first < problem.batch; first += plan.entries) {
    params.first_entry = first;
    const std::int64_t count = std::min(plan.entries, problem.batch - first);
    for (std::int64_t i = 0; i < count; ++i)
      params.slots[i] = static_cast<std::int32_t>(problem.entries[first + i].sequence);
    if (dim <= 64) {
      add_attention<64>(launches, KernelId::attend_cache_s8_64, plan, params, count);
    } else if (dim <= 128) {
      add_attention<128>(launches, KernelId::attend_cache_s8_128, plan, params, count);
    } else {
      add_attention<256>(launches, KernelId::attend_cache_s8_256, plan, params, count);
    }
    launches.add(row_kernel(KernelId::finish_decode_rows_64, cache.value_dim),
                 {{blocks_of(rows, kCodeWarps), cache.kv_heads, count}, kCodeWarps, 0}, params);
  }
  return launches.status();
}

}  // namespace octavo::cuda
