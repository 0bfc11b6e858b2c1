// Who runs octavo's tasks. The caller may bring a runner (an engine's own pool); without one octavo's pool is used.
#pragma once

#include <cstdint>

#include "octavo/export.hpp"

namespace octavo {

/// Runs body(context, task) for every task in 0..tasks-1, in any order and on any threads, and returns when all are
/// done. Results never depend on how the tasks are spread.
class ParallelRunner {
 public:
  using Body = void (*)(void* context, std::int64_t task);
  virtual ~ParallelRunner() = default;
  virtual void run(std::int64_t tasks, Body body, void* context) noexcept = 0;
  /// How many tasks may run at the same time.
  virtual int threads() const noexcept = 0;
};

/// octavo's own pool: made at first use, aware of the process's affinity mask and cgroup quota, safe after fork(); a
/// call from inside one of its tasks runs inline.
OCTAVO_API ParallelRunner& default_runner() noexcept;

/// Threads of the default pool, the caller included. 0 = as many as the machine gives this process. Affects later
/// calls; negative values count as 0. Environment: OCTAVO_NUM_THREADS.
OCTAVO_API void set_num_threads(int threads) noexcept;
OCTAVO_API int num_threads() noexcept;

}  // namespace octavo
