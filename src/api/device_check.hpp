// Checks that all tensors of a call are on one device, which this build and this machine can use.
#pragma once

#include <span>

#include "api/tensor_checks.hpp"

namespace octavo {

struct NamedTensor {
  Name name;
  const TensorView* view;  // null or not given: ignored
};

// Fills `device` (the CPU where nothing is given).
Status check_devices(std::span<const NamedTensor> tensors, Device& device);

// Whether the memory is on the device, once the extents are checked: a host pointer in a kernel would make the device
// unusable for the process. Does nothing on the CPU.
Status check_pointers(std::span<const NamedTensor> tensors, Device device);

}  // namespace octavo
