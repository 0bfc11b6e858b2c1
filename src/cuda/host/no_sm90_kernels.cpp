// Instead of targets/attention_sm90.cu in builds for other GPUs.
#include "cuda/host/kernel_table.hpp"

namespace octavo::cuda {

const DeviceKernel& sm90_kernel(int) {
  static constexpr DeviceKernel kNone{"none", nullptr};
  return kNone;
}
bool has_sm90_kernels() noexcept { return false; }

}  // namespace octavo::cuda
