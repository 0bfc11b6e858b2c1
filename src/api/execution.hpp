// The checks of an Execution.
#pragma once

#include "api/tensor_checks.hpp"
#include "octavo/execution.hpp"

namespace octavo {

// Fields that contradict each other, and environment variables with a bad value.
Status check_execution(const Execution& execution);
// Tensors on the CPU have no stream.
Status check_stream(const Execution& execution, Device device);

// Bytes of the caller's workspace; empty without one.
ByteRange workspace_range(const Execution& execution) noexcept;

}  // namespace octavo
