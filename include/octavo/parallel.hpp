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

/// No pool is larger: a mistyped number must not take the machine down.
inline constexpr int kMaxThreads = 1024;

/// Threads of the default pool, the caller included, for later calls: 1 to kMaxThreads (more count as that), 0 = as
/// many as the machine gives this process, negative = what OCTAVO_NUM_THREADS says, as before the first call of this
/// function.
OCTAVO_API void set_num_threads(int threads) noexcept;

/// What set_num_threads() was last told, to be told again later: 0 to kMaxThreads, or -1 where OCTAVO_NUM_THREADS
/// decides.
OCTAVO_API int requested_num_threads() noexcept;

/// Threads of a call that begins now, at least 1.
OCTAVO_API int num_threads() noexcept;

}  // namespace octavo
