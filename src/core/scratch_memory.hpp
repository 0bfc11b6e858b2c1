// The CPU's part of an Execution: whose threads run a call, and its scratch memory.
#pragma once

#include <cstddef>

#include "core/workspace_pool.hpp"
#include "octavo/execution.hpp"
#include "octavo/status.hpp"

namespace octavo {

inline ParallelRunner& runner_of(const Execution& execution) noexcept {
  return execution.runner != nullptr ? *execution.runner : default_runner();
}

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
