// What an Execution means on the CPU: whose threads, which scratch memory, and that there is no stream there.
#pragma once

#include <cstddef>

#include "api/views.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace_pool.hpp"
#include "octavo/execution.hpp"

namespace octavo {

// The parts of an Execution that have no meaning here, and environment variables with a bad value.
Status check_execution(const Execution& execution);
// A stream belongs to a device's tensors.
Status check_stream(const Execution& execution, Device device);

inline ParallelRunner& runner_of(const Execution& execution) noexcept {
  return execution.runner != nullptr ? *execution.runner : default_runner();
}

// Bytes of the caller's workspace; empty without one.
ByteRange workspace_range(const Execution& execution) noexcept;

// The caller's workspace if there is one, else a kept buffer of the process for as long as this object lives.
class ScratchMemory {
 public:
  ScratchMemory(const Execution& execution, std::size_t bytes);
  // invalid_argument: the caller's is too small or badly aligned; resource_exhausted: there is no memory.
  const Status& status() const noexcept { return status_; }
  std::byte* data() const noexcept { return data_; }

 private:
  Workspace own_;
  std::byte* data_ = nullptr;
  Status status_;
};

}  // namespace octavo
