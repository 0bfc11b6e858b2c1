// dequantize() on the CPU, knowing no instruction set: a task is a head of all sequences of a batch entry.
#include <algorithm>

#include "cpu/for_each_task.hpp"
#include "cpu/implementation.hpp"
#include "spec/scale_layout.hpp"

namespace octavo::cpu {

void dequantize(const Implementation& implementation, const DequantizeProblem& problem,
                ParallelRunner& runner) noexcept {
  const Operand& codes = problem.codes;
  const int workers = std::max(runner.threads(), 1);
  for_each_task(runner, workers, problem.batch * problem.heads, [&](std::int64_t, std::int64_t task) {
    const std::int64_t b = task / problem.heads, head = task % problem.heads;
    if (problem.cu_seqlens.data == nullptr) {
      const spec::ScalePlace place{b * codes.scales_per_sequence, b * codes.means_per_sequence};
      return implementation.kernels->dequantize_head(problem, b, head, place, 0, problem.rows);
    }
    spec::ScaleCursor walk(codes, spec::groups_of(problem.role, problem.recipe), problem.dim, true);
    for (std::int64_t s = 0; s < problem.sequences; ++s) {
      const std::int64_t begin = problem.cu_seqlens[s], rows = problem.cu_seqlens[s + 1] - begin;
      implementation.kernels->dequantize_head(problem, b, head, walk.place(), begin, rows);
      walk.pass(rows);
    }
  });
}

}  // namespace octavo::cpu
