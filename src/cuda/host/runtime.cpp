// The runtime of the process: the built-in one, unless a test has replaced it. Atomic, since other threads may be in a
// call.
#include "cuda/host/runtime.hpp"

#include <atomic>

namespace octavo::cuda {
namespace {
std::atomic<Runtime*> replaced{nullptr};
}

Runtime* runtime() noexcept {
  Runtime* other = replaced.load(std::memory_order_acquire);
  return other != nullptr ? other : built_in_runtime();
}

void replace_runtime(Runtime* other) noexcept { replaced.store(other, std::memory_order_release); }

}  // namespace octavo::cuda
