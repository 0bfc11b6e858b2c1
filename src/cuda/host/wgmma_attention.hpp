// Launches of Hopper's attention kernels: which there are, tensor maps, how many thread blocks share the tasks.
#pragma once

#include "cuda/attention/params_sm90.hpp"
#include "cuda/host/launch.hpp"
#include "cuda/host/plan.hpp"

namespace octavo::cuda {

// Whether attention of these operands has such a kernel; sequences of 16-bit Q take another one.
bool has_wgmma_attention(PackedFormat scores, PackedFormat values, bool f16_sums, std::int32_t dim);

class WgmmaAttention {
 public:
  // Makes the tensor maps of a call whose plan says so; else there is nothing to attend with.
  WgmmaAttention(int device, const AttentionPlan& plan, const AttentionScratch& scratch);
  const Status& status() const noexcept { return status_; }

  // Launches the kernel of this variant; false: there is none.
  bool attend(Launches& launches, const AttentionKernelParams& params, AttentionVariant variant);

 private:
  const AttentionPlan& plan_;
  Status status_;
  AttentionParamsSm90<TensorMapBytes> params_;
};

}  // namespace octavo::cuda
