// A build without CUDA: there is no runtime, and every device tensor is refused with a message.
#include "cuda/host/runtime.hpp"

namespace octavo::cuda {
Runtime* built_in_runtime() noexcept { return nullptr; }
}  // namespace octavo::cuda
