// What attention over a key-value cache needs: tasks, and the places of their states in scratch memory.
//   A task is (entry of the batch, KV head, chunk of query rows, split of keys). Row r of a KV head is query row
//   r / group of query head kv_head * group + r % group. Splits and kept keys leave a state each; the task that
//   finishes a chunk last merges them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cache_problem.hpp"
#include "core/inline.hpp"
#include "cpu/operands/tile_config.hpp"
#include "spec/cache_layout.hpp"

namespace octavo::cpu {

// Query rows of a chunk: their sums stay in the first-level cache beside a block of K and V.
inline constexpr std::int64_t kDecodeRows = 16;

struct CachePlan {
  const CacheAttentionProblem* problem = nullptr;
  std::int64_t rows = 0;    // of a KV head: group * q_rows
  std::int64_t chunks = 0;  // of rows
  std::int64_t splits = 0;  // of the longest sequence
  bool keeps = false;       // kept keys: one more state
  std::int64_t state_floats = 0;
  // Offsets and sizes in bytes.
  std::size_t states_at = 0, threads_at = 0, thread_bytes = 0, bytes = 0;
  std::size_t q_floats_at = 0, q_words_at = 0, scores_at = 0, weights_at = 0;  // of a thread
};

struct CacheCall {
  const CachePlan* plan;
  std::byte* scratch;
};

struct CacheTask {
  std::int64_t entry, kv_head, chunk, split;
};

OCTAVO_INLINE std::int64_t chunk_number(const CachePlan& plan, const CacheTask& task) {
  return (task.entry * plan.problem->cache.kv_heads + task.kv_head) * plan.chunks + task.chunk;
}
// Tasks of the chunk that are not finished.
OCTAVO_INLINE std::int64_t& pending_splits(const CacheCall& call, const CacheTask& task) {
  return reinterpret_cast<std::int64_t*>(call.scratch)[chunk_number(*call.plan, task)];
}
// State number `state`: m [kDecodeRows], l [kDecodeRows], sums [kDecodeRows][v_columns].
OCTAVO_INLINE float* cache_state(const CacheCall& call, const CacheTask& task, std::int64_t state) {
  const CachePlan& plan = *call.plan;
  return reinterpret_cast<float*>(call.scratch + plan.states_at) +
         (chunk_number(plan, task) * (plan.splits + 1) + state) * plan.state_floats;
}
OCTAVO_INLINE std::int64_t splits_of(std::int64_t keys) {
  return keys <= spec::kCacheSplit ? 1 : (keys + spec::kCacheSplit - 1) / spec::kCacheSplit;
}

}  // namespace octavo::cpu
