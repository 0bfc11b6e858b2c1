// A key-value cache on the CPU, independent of the instruction set: appends as tasks of (sequence, KV head), attention
// as tasks of (sequence, KV head, query rows, split of keys).
#include <algorithm>

#include "cpu/for_each_task.hpp"
#include "cpu/implementation.hpp"
#include "cpu/operands/cache_plan.hpp"

namespace octavo::cpu {
namespace {

constexpr std::size_t rounded_up(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

CachePlan make_cache_plan(const CacheAttentionProblem& problem, int threads) {
  const CacheView& cache = problem.cache;
  CachePlan plan;
  plan.problem = &problem;
  plan.rows = problem.group() * problem.q_rows;
  plan.chunks = (plan.rows + kDecodeRows - 1) / kDecodeRows;
  plan.keeps = cache.kept_k != nullptr;
  std::int64_t longest = 0;
  for (std::int64_t i = 0; i < problem.batch; ++i) longest = std::max(longest, problem.entries[i].keys);
  plan.splits = splits_of(longest);
  plan.state_floats = 2 * kDecodeRows + kDecodeRows * cache.v_columns;
  const std::int64_t chunks = problem.batch * cache.kv_heads * plan.chunks;
  plan.states_at = rounded_up(static_cast<std::size_t>(chunks) * 8);
  plan.threads_at =
      plan.states_at + rounded_up(static_cast<std::size_t>(chunks * (plan.splits + 1) * plan.state_floats) * 4);
  const auto take = [&](std::int64_t words) {
    const std::size_t at = plan.thread_bytes;
    plan.thread_bytes += rounded_up(static_cast<std::size_t>(words) * 4);
    return at;
  };
  plan.q_floats_at = take(kDecodeRows * padded(cache.head_dim));
  plan.q_words_at = take(kDecodeRows * cache.k_columns / 2);
  plan.scores_at = take(4 * spec::kCacheKeyBlock);
  plan.bytes = plan.threads_at + static_cast<std::size_t>(std::max(threads, 1)) * plan.thread_bytes;
  return plan;
}

}  // namespace

std::size_t workspace_size(const Implementation&, const CacheAttentionProblem& problem, int threads) noexcept {
  return make_cache_plan(problem, threads).bytes;
}

void attention(const Implementation& implementation, const CacheAttentionProblem& problem, ParallelRunner& runner,
               std::byte* workspace) noexcept {
  const KernelTable& kernels = *implementation.kernels;
  const int workers = std::max(runner.threads(), 1);
  const CachePlan plan = make_cache_plan(problem, workers);
  const CacheCall call{&plan, workspace};
  const std::int64_t chunks = problem.batch * problem.cache.kv_heads * plan.chunks;
  const auto task_of = [&](std::int64_t chunk, std::int64_t split) {
    const std::int64_t head = chunk / plan.chunks;
    return CacheTask{head / problem.cache.kv_heads, head % problem.cache.kv_heads, chunk % plan.chunks, split};
  };
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const CacheTask task = task_of(chunk, 0);
    pending_splits(call, task) = splits_of(problem.entries[task.entry].keys);
  }
  // Chunks of rows are the inner loop: those of one split find its keys in the cache.
  for_each_task(runner, workers, chunks * plan.splits, [&](std::int64_t worker, std::int64_t number) {
    const std::int64_t head = number / (plan.chunks * plan.splits), within = number % (plan.chunks * plan.splits);
    const CacheTask task = task_of(head * plan.chunks + within % plan.chunks, within / plan.chunks);
    if (task.split >= splits_of(problem.entries[task.entry].keys)) return;
    std::byte* const thread = workspace + plan.threads_at + static_cast<std::size_t>(worker) * plan.thread_bytes;
    kernels.attend_cache(call, task, thread);
    if (is_last(pending_splits(call, task))) kernels.finish_cache(call, task, thread);
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
