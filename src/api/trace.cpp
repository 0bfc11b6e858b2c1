// A trace passes attention()'s checks, with its error messages, before memory for all scores is allocated.
#include "api/trace.hpp"

#include "api/checks.hpp"
#include "core/guard.hpp"
#include "reference/reference.hpp"

namespace octavo {

Result<reference::Trace> trace_attention(const AttentionInputs& inputs, const AttentionParams& params) noexcept {
  return guarded([&]() -> Result<reference::Trace> {
    Problem problem;
    ByteRanges ranges;
    if (Status status = check_attention(inputs, params, Pointers::needed, problem, ranges); !status.ok()) return status;
    if (Status status = reference::supports(problem); !status.ok()) return status;
    Result<reference::Trace> trace = reference::Trace::of(problem);
    if (!trace.ok()) return trace;
    if (problem.batch > 0 && problem.q_rows > 0) reference::attention(problem, &*trace);
    return trace;
  });
}

}  // namespace octavo
