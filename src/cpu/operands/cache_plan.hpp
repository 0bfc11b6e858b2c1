// What attention over a key-value cache needs: tasks, and the places of their states in scratch memory.
//   Row r of a KV head of an entry is query row r / group of query head kv_head * group + r % group. A task is (entry
//   of the batch, KV head, chunk of rows, split of keys), or a chunk with all its splits where chunks alone give every
//   thread work. Splits of their own leave a state each, as do kept keys; the task that finishes a chunk last folds
//   them. Both ways fold the same states in the same order: results are the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cache_problem.hpp"
#include "core/inline.hpp"
#include "core/problem.hpp"
#include "cpu/operands/tile_config.hpp"
#include "spec/cache_layout.hpp"

namespace octavo::cpu {

// Query rows of a chunk. Few: their sums stay in the first-level cache beside a block of K and V. Many, where there are
// enough chunks: each block of K and V is read once for all of them.
inline constexpr std::int64_t kDecodeRows = 16;
inline constexpr std::int64_t kMostDecodeRows = 64;
// Tasks for each thread from which on a task has a whole chunk: with fewer, threads that lose time to other work would
// keep the rest waiting.
inline constexpr std::int64_t kDecodeTasksPerThread = 16;

// An entry's share of the tasks and of scratch memory; all counts run over the entries before it.
struct CacheEntryPlan {
  std::int64_t rows = 0;         // of a KV head: group * its query rows
  std::int64_t chunks = 0;       // of rows
  std::int64_t splits = 0;       // of keys
  std::int64_t first_task = 0;   // tasks: [kv_heads][splits][chunks], or [kv_heads][chunks]
  std::int64_t first_chunk = 0;  // chunks of all KV heads
  std::int64_t first_state = 0;  // states: [kv_heads][chunks][splits + 1]; none where a task has all splits
};

struct CachePlan {
  const CacheAttentionProblem* problem = nullptr;
  Problem terms;                // mask, ALiBi and causality as score_mod reads them
  bool keeps = false;           // kept keys: one more state
  bool whole = false;           // a task has all splits of its chunk
  std::int64_t chunk_rows = 0;  // kDecodeRows or kMostDecodeRows
  std::int64_t state_floats = 0;
  std::int64_t tasks = 0, chunks = 0, states = 0;  // of all entries
  // Offsets and sizes in bytes.
  std::size_t pending_at = 0, states_at = 0, threads_at = 0, thread_bytes = 0, bytes = 0;
  std::size_t q_floats_at = 0, q_words_at = 0, scores_at = 0, sums_at = 0, state_at = 0;  // of a thread
  std::size_t wide_at = 0;  // of a thread: e4m3 blocks of chunks of many rows in f32; 0: none
};

struct CacheCall {
  const CachePlan* plan;
  std::byte* scratch;
};

struct CacheTask {
  std::int64_t entry, kv_head, chunk, split;
};

OCTAVO_INLINE CacheEntryPlan& entry_plan(const CacheCall& call, std::int64_t entry) {
  return reinterpret_cast<CacheEntryPlan*>(call.scratch)[entry];
}
// Tasks of the chunk that are not finished.
OCTAVO_INLINE std::int64_t& pending_splits(const CacheCall& call, const CacheTask& task) {
  const CacheEntryPlan& entry = entry_plan(call, task.entry);
  return reinterpret_cast<std::int64_t*>(
      call.scratch + call.plan->pending_at)[entry.first_chunk + task.kv_head * entry.chunks + task.chunk];
}
// A state: m [chunk_rows], l [chunk_rows], sums [chunk_rows][v_columns]. Number `splits` is that of the kept keys.
OCTAVO_INLINE float* cache_state(const CacheCall& call, const CacheTask& task, std::int64_t state) {
  const CacheEntryPlan& entry = entry_plan(call, task.entry);
  const std::int64_t number =
      entry.first_state + (task.kv_head * entry.chunks + task.chunk) * (entry.splits + 1) + state;
  return reinterpret_cast<float*>(call.scratch + call.plan->states_at) + number * call.plan->state_floats;
}
OCTAVO_INLINE std::int64_t splits_of(std::int64_t keys) {
  return keys <= spec::kCacheSplit ? 1 : (keys + spec::kCacheSplit - 1) / spec::kCacheSplit;
}

}  // namespace octavo::cpu
