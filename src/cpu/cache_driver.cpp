// A key-value cache on the CPU, independent of the instruction set: appends as tasks of (sequence, KV head), attention
// as tasks of (sequence, KV head, query rows, split of keys).
#include <algorithm>

#include "cpu/for_each_task.hpp"
#include "cpu/implementation.hpp"
#include "cpu/operands/cache_plan.hpp"

namespace octavo::cpu {
namespace {

constexpr std::size_t rounded_up(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

// Fills `entries`, where given: [batch] entries in scratch memory.
CachePlan make_cache_plan(const CacheAttentionProblem& problem, int threads, CacheEntryPlan* entries) {
  const CacheView& cache = problem.cache;
  CachePlan plan;
  plan.problem = &problem;
  plan.terms.mask = problem.mask;
  plan.terms.alibi_slopes = problem.alibi_slopes;
  plan.terms.alibi = problem.alibi;
  plan.terms.causal = problem.causal;
  plan.keeps = cache.kept_k != nullptr;
  const auto chunks_of = [&](std::int64_t chunk_rows) {
    std::int64_t chunks = 0;
    for (std::int64_t i = 0; i < problem.batch; ++i)
      chunks += (problem.group() * problem.entries[i].q_rows + chunk_rows - 1) / chunk_rows * cache.kv_heads;
    return chunks;
  };
  const std::int64_t enough = kDecodeTasksPerThread * std::max(threads, 1);
  plan.whole = chunks_of(kDecodeRows) >= enough;
  plan.chunk_rows = chunks_of(kMostDecodeRows) >= enough ? kMostDecodeRows : kDecodeRows;
  for (std::int64_t i = 0; i < problem.batch; ++i) {
    CacheEntryPlan entry;
    entry.rows = problem.group() * problem.entries[i].q_rows;
    entry.chunks = (entry.rows + plan.chunk_rows - 1) / plan.chunk_rows;
    entry.splits = splits_of(problem.entries[i].keys);
    entry.first_task = plan.tasks;
    entry.first_chunk = plan.chunks;
    entry.first_state = plan.states;
    if (entries != nullptr) entries[i] = entry;
    const std::int64_t chunks = cache.kv_heads * entry.chunks;
    plan.chunks += chunks;
    plan.tasks += chunks * (plan.whole ? 1 : entry.splits);
    plan.states += plan.whole ? 0 : chunks * (entry.splits + 1);
  }
  plan.state_floats = 2 * plan.chunk_rows + plan.chunk_rows * cache.v_columns;
  const auto words = [](std::int64_t count) { return rounded_up(static_cast<std::size_t>(count) * 4); };
  plan.pending_at = rounded_up(static_cast<std::size_t>(problem.batch) * sizeof(CacheEntryPlan));
  plan.states_at = plan.pending_at + words(2 * plan.chunks);
  plan.threads_at = plan.states_at + words(plan.states * plan.state_floats);
  const auto take = [&](std::int64_t count) {
    const std::size_t at = plan.thread_bytes;
    plan.thread_bytes += words(count);
    return at;
  };
  plan.q_floats_at = take(plan.chunk_rows * padded(cache.head_dim));
  plan.q_words_at = take(plan.chunk_rows * cache.k_columns / 2);
  plan.scores_at = take(4 * spec::kCacheKeyBlock);
  plan.sums_at = take(plan.state_floats);
  plan.state_at = take(plan.whole ? plan.state_floats : 0);
  // Converting e4m3 takes as long as the product with four rows.
  if (cache.format == DType::e4m3) plan.wide_at = take(spec::kCacheKeyBlock * (cache.k_columns + cache.v_columns));
  plan.bytes = plan.threads_at + static_cast<std::size_t>(std::max(threads, 1)) * plan.thread_bytes;
  return plan;
}

// Chunks of rows are the inner loop: those of one split find its keys in the cache.
CacheTask task_of(const CacheCall& call, std::int64_t number) {
  const CachePlan& plan = *call.plan;
  const CacheEntryPlan* const entries = &entry_plan(call, 0);
  const CacheEntryPlan* const behind =
      std::upper_bound(entries, entries + plan.problem->batch, number,
                       [](std::int64_t task, const CacheEntryPlan& entry) { return task < entry.first_task; });
  const CacheEntryPlan& entry = behind[-1];
  const std::int64_t splits = plan.whole ? 1 : entry.splits, within = number - entry.first_task;
  return {&entry - entries, within / (splits * entry.chunks), within % entry.chunks, within / entry.chunks % splits};
}

}  // namespace

std::size_t workspace_size(const Implementation&, const CacheAttentionProblem& problem, int threads) noexcept {
  return make_cache_plan(problem, threads, nullptr).bytes;
}

void attention(const Implementation& implementation, const CacheAttentionProblem& problem, ParallelRunner& runner,
               std::byte* workspace) noexcept {
  const KernelTable& kernels = *implementation.kernels;
  const int workers = std::max(runner.threads(), 1);
  const CachePlan plan = make_cache_plan(problem, workers, reinterpret_cast<CacheEntryPlan*>(workspace));
  const CacheCall call{&plan, workspace};
  auto* const pending = reinterpret_cast<std::int64_t*>(workspace + plan.pending_at);
  for (std::int64_t i = 0; i < problem.batch; ++i) {
    const CacheEntryPlan& entry = entry_plan(call, i);
    std::fill_n(pending + entry.first_chunk, problem.cache.kv_heads * entry.chunks, plan.whole ? 1 : entry.splits);
  }
  for_each_task(runner, workers, plan.tasks, [&](std::int64_t worker, std::int64_t number) {
    const CacheTask task = task_of(call, number);
    std::byte* const thread = workspace + plan.threads_at + static_cast<std::size_t>(worker) * plan.thread_bytes;
    kernels.attend_cache(call, task, thread);
    if (!plan.whole && is_last(pending_splits(call, task))) kernels.finish_cache(call, task, thread);
  });
}

void append(const Implementation& implementation, const CacheAppendProblem& problem, ParallelRunner& runner) noexcept {
  // Below this many rows the threads' wake-up takes longer than the work.
  constexpr std::int64_t kRowsOfThreads = 256;
  const std::int64_t heads = problem.cache.kv_heads;
  std::int64_t rows = 0;
  for (std::int64_t i = 0; i < problem.count; ++i) rows += problem.entries[i].rows * heads;
  const int workers = rows < kRowsOfThreads ? 1 : std::max(runner.threads(), 1);
  for_each_task(runner, workers, problem.count * heads, [&](std::int64_t, std::int64_t task) {
    implementation.kernels->append_cache_rows(problem, task / heads, task % heads);
  });
}

}  // namespace octavo::cpu
