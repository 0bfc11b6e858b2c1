// Threads for octavo's tasks: the caller's runner (for example an engine's thread pool), or octavo's own pool.
#pragma once

#include <cstdint>

#include "octavo/export.hpp"

namespace octavo {

/// Runs body(context, task) for every task in 0..tasks-1, in any order and on any threads, and returns when all are
/// done. Results do not depend on the distribution of tasks.
class ParallelRunner {
 public:
  using Body = void (*)(void* context, std::int64_t task);
  virtual ~ParallelRunner() = default;
  virtual void run(std::int64_t tasks, Body body, void* context) noexcept = 0;
  /// Maximum number of concurrent tasks.
  virtual int threads() const noexcept = 0;
};

/// octavo's own pool: created at first use, respects the process's affinity mask and cgroup quota, safe after fork().
/// A call from inside one of its tasks runs inline.
OCTAVO_API ParallelRunner& default_runner() noexcept;

/// Upper limit of the number of threads, to protect against mistyped numbers.
inline constexpr int kMaxThreads = 1024;

/// Threads of the default pool, including the caller, for later calls: 1 to kMaxThreads (larger values are clamped),
/// 0 = all processors available to this process, negative = the value of OCTAVO_NUM_THREADS, as before the first call
/// of this function.
OCTAVO_API void set_num_threads(int threads) noexcept;

/// The last value of set_num_threads(), to restore it later: 0 to kMaxThreads, or -1 if OCTAVO_NUM_THREADS
/// applies.
OCTAVO_API int requested_num_threads() noexcept;

/// Threads of a call that starts now, at least 1.
OCTAVO_API int num_threads() noexcept;

}  // namespace octavo
