// A call on the oracle that keeps its intermediate values. Not part of the public interface: the
// Python package offers it as octavo.reference.trace. The shared library exports it in a wheel only, whose module is
// linked to it.
#pragma once

#include "octavo/attention.hpp"
#include "octavo/status.hpp"
#include "reference/trace.hpp"

#if defined(OCTAVO_EXPORT_TRACE)
#define OCTAVO_TRACE_API OCTAVO_API
#else
#define OCTAVO_TRACE_API
#endif

namespace octavo {

// attention() on the reference; out and lse are written as by it. Errors as its, and resource_exhausted where the
// scores would take more than 8 GiB.
OCTAVO_TRACE_API Result<reference::Trace> trace_attention(const AttentionInputs& inputs,
                                                          const AttentionParams& params) noexcept;

}  // namespace octavo
