// merge_state() on the CPU, knowing no instruction set: tasks of rows.
#include <algorithm>

#include "cpu/for_each_task.hpp"
#include "cpu/implementation.hpp"

namespace octavo::cpu {

void merge(const Implementation& implementation, const MergeProblem& problem, ParallelRunner& runner) noexcept {
  constexpr std::int64_t kRowsOfTask = 64;
  const std::int64_t tasks_per_head = (problem.rows + kRowsOfTask - 1) / kRowsOfTask;
  const int workers = std::max(runner.threads(), 1);
  for_each_task(runner, workers, problem.batch * problem.heads * tasks_per_head, [&](std::int64_t, std::int64_t task) {
    const std::int64_t head = task / tasks_per_head, first = task % tasks_per_head * kRowsOfTask;
    implementation.kernels->merge_rows(problem, head / problem.heads, head % problem.heads, first,
                                       std::min(first + kRowsOfTask, problem.rows));
  });
}

}  // namespace octavo::cpu
