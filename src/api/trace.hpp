// A call on the oracle that keeps its intermediate values. Not part of the public interface: the
// Python package offers it as octavo.reference.trace.
#pragma once

#include "octavo/attention.hpp"
#include "octavo/status.hpp"
#include "reference/trace.hpp"

namespace octavo {

// attention() on the reference; out and lse are written as by it. Errors as its, and resource_exhausted where the
// scores would take more than 8 GiB.
Result<reference::Trace> trace_attention(const AttentionInputs& inputs, const AttentionParams& params) noexcept;

}  // namespace octavo
