// attention() and workspace_size(): checks, choice of an implementation, and the call of its back end.
#include "octavo/attention.hpp"

#include "api/checks.hpp"
#include "api/execution.hpp"
#include "api/selection.hpp"
#include "core/guard.hpp"
#include "core/log.hpp"
#include "core/text.hpp"

namespace octavo {
namespace {

std::string_view to_text(Causal causal) {
  return causal == Causal::none ? "none" : causal == Causal::top_left ? "top_left" : "bottom_right";
}

void log_call(const Problem& problem, const Implementation& implementation, const CallReport& report) {
  const std::string who = problem.device.type == DeviceType::cuda ? text("CUDA device ", problem.device.index)
                                                                  : text(report.threads, " threads");
  log_line(LogLevel::dispatch,
           text("attention ", to_string(problem.recipe), " batch ", problem.batch, " heads ", problem.q_heads, "/",
                problem.kv_heads, " seqlen ", problem.q_rows, "x", problem.k_rows, " head_dim ", problem.head_dim, "/",
                problem.value_dim, " causal ", to_text(problem.causal), " -> ", implementation.name, ", ", who, ", ",
                report.workspace_bytes, " bytes of workspace"));
}

// Checks a call and finds its implementation.
Result<const Implementation*> prepare(const AttentionInputs& inputs, const AttentionParams& params,
                                      const Execution& execution, Pointers pointers, Problem& problem) {
  if (Status status = check_execution(execution); !status.ok()) return status;
  ByteRanges ranges;
  if (pointers == Pointers::needed) ranges.writes({"workspace"}, workspace_range(execution));
  if (Status status = check_attention(inputs, params, pointers, problem, ranges); !status.ok()) return status;
  if (Status status = check_stream(execution, problem.device); !status.ok()) return status;
  return select_implementation(problem, execution.implementation);
}

// On a device this enqueues the call on its stream; nothing waits for it.
Status run(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution) {
  Problem problem;
  const Result<const Implementation*> selected = prepare(inputs, params, execution, Pointers::needed, problem);
  if (!selected.ok()) return selected.status();
  const Implementation& implementation = **selected;
  CallReport report;
  Status status = implementation.backend().attention(implementation, problem, execution, report);
  if (!status.ok()) return status;
  note_served_by(implementation);
  if (log_enabled(LogLevel::dispatch)) log_call(problem, implementation, report);
  return {};
}

Result<std::size_t> measure(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution) {
  Problem problem;
  const Result<const Implementation*> selected = prepare(inputs, params, execution, Pointers::optional, problem);
  if (!selected.ok()) return selected.status();
  return (*selected)->backend().workspace_size(**selected, problem, execution);
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
