// The life of a call: checks -> which implementation -> scratch memory -> run.
#include "octavo/attention.hpp"

#include "api/checks.hpp"
#include "api/execution.hpp"
#include "api/selection.hpp"
#include "core/env.hpp"
#include "core/guard.hpp"
#include "core/log.hpp"
#include "core/text.hpp"
#include "core/thread_pool.hpp"
#include "cuda/workspace.hpp"
#include "reference/reference.hpp"

namespace octavo {
namespace {

std::string_view causal_word(Causal causal) {
  return causal == Causal::none ? "none" : causal == Causal::top_left ? "top_left" : "bottom_right";
}

void log_call(const Problem& problem, const Selection& selection, int threads, std::size_t workspace) {
  const std::string who =
      selection.cuda != nullptr ? text("CUDA device ", problem.device.index) : text(threads, " threads");
  log_line(LogLevel::dispatch,
           text("attention ", to_string(problem.recipe), " batch ", problem.batch, " heads ", problem.q_heads, "/",
                problem.kv_heads, " seqlen ", problem.q_rows, "x", problem.k_rows, " head_dim ", problem.head_dim, "/",
                problem.value_dim, " causal ", causal_word(problem.causal), " -> ", selection.name, ", ", who, ", ",
                workspace, " bytes of workspace"));
}

// Enqueues the call on its stream; nothing waits for it.
Status run_on_device(const Problem& problem, const Selection& selection, const Execution& execution) {
  const Result<cuda::DeviceProperties> device = cuda::runtime()->properties(problem.device.index);
  if (!device.ok()) return device.status();
  const Result<std::size_t> bytes = cuda::workspace_size(*selection.cuda, problem, *device);
  if (!bytes.ok()) return bytes.status();
  const cuda::DeviceWorkspace scratch(execution, problem.device.index, *bytes);
  if (!scratch.status().ok()) return scratch.status();
  if (Status status =
          cuda::attention(*selection.cuda, problem, *device, {problem.device.index, execution.stream, scratch.data()});
      !status.ok()) {
    return status;
  }
  note_served_by(selection);
  if (log_enabled(LogLevel::dispatch)) log_call(problem, selection, 0, *bytes);
  return {};
}

Status run(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution) {
  if (Status status = check_execution(execution); !status.ok()) return status;
  Problem problem;
  ByteRanges ranges;
  ranges.writes({"workspace"}, workspace_range(execution));
  if (Status status = check_attention(inputs, params, Pointers::needed, problem, ranges); !status.ok()) return status;
  if (Status status = check_stream(execution, problem.device); !status.ok()) return status;
  const Result<Selection> selection = select_implementation(problem, execution.implementation);
  if (!selection.ok()) return selection.status();

  if (selection->cuda != nullptr) return run_on_device(problem, *selection, execution);
  const bool empty = problem.batch == 0 || problem.q_rows == 0;
  FixedRunner runner(runner_of(execution));
  std::size_t bytes = 0;
  if (selection->cpu != nullptr) {
    const cpu::PlannedAttention call(*selection->cpu, problem, runner.threads());
    if (!empty) bytes = call.workspace_bytes();
    ScratchMemory scratch(execution, bytes);
    if (!scratch.status().ok()) return scratch.status();
    if (!empty) call.run(runner, scratch.data());
  } else if (!empty) {
    reference::attention(problem);
  }
  note_served_by(*selection);
  if (log_enabled(LogLevel::dispatch)) {
    log_call(problem, *selection, selection->cpu != nullptr ? runner.threads() : 1, bytes);
  }
  return {};
}

Result<std::size_t> measure(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution) {
  if (Status status = check_execution(execution); !status.ok()) return status;
  Problem problem;
  ByteRanges ranges;
  if (Status status = check_attention(inputs, params, Pointers::optional, problem, ranges); !status.ok()) return status;
  if (Status status = check_stream(execution, problem.device); !status.ok()) return status;
  const Result<Selection> selection = select_implementation(problem, execution.implementation);
  if (!selection.ok()) return selection.status();
  if (selection->cuda != nullptr) {
    const Result<cuda::DeviceProperties> device = cuda::runtime()->properties(problem.device.index);
    if (!device.ok()) return device.status();
    return cuda::workspace_size(*selection->cuda, problem, *device);
  }
  if (selection->cpu == nullptr || problem.batch == 0 || problem.q_rows == 0) return std::size_t{0};
  const int threads = FixedRunner(runner_of(execution)).threads();
  return cpu::PlannedAttention(*selection->cpu, problem, threads).workspace_bytes();
}

}  // namespace

Status attention(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution) noexcept {
  return guarded([&] { return run(inputs, params, execution); });
}

Result<std::size_t> workspace_size(const AttentionInputs& inputs, const AttentionParams& params,
                                   const Execution& execution) noexcept {
  return guarded([&] { return measure(inputs, params, execution); });
}

}  // namespace octavo
