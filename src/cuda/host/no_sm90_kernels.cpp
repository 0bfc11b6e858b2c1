// Instead of targets/attention_sm90.cu in builds for other GPUs.
#include "cuda/host/kernel_table.hpp"

namespace octavo::cuda {

KernelTable sm90_kernels() { return {}; }

}  // namespace octavo::cuda
