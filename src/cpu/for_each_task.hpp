// Tasks over a runner's threads: each thread is one worker with scratch of its own, and takes the next task when it has
// finished one.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "octavo/parallel.hpp"

namespace octavo::cpu {

// Runs body(worker, task) for every task in 0..tasks-1; worker is in 0..workers-1.
template <class Body>
void for_each_task(ParallelRunner& runner, int workers, std::int64_t tasks, const Body& body) {
  struct Shared {
    const Body* body;
    std::int64_t tasks;
    std::atomic<std::int64_t> next{0};
  } shared{&body, tasks};
  const auto work = [](void* context, std::int64_t worker) {
    auto& s = *static_cast<Shared*>(context);
    for (std::int64_t task; (task = s.next.fetch_add(1, std::memory_order_relaxed)) < s.tasks;) (*s.body)(worker, task);
  };
  if (tasks > 0) runner.run(std::min<std::int64_t>(workers, tasks), work, &shared);
}

// One of several tasks that a counter waits for; true for the one that ends the wait, which sees what the others wrote.
inline bool is_last(std::int64_t& pending) {
  return std::atomic_ref<std::int64_t>(pending).fetch_sub(1, std::memory_order_acq_rel) == 1;
}

}  // namespace octavo::cpu
