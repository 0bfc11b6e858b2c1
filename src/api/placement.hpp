// On which device a call's tensors lie: on one, all of them, and one that this build and this machine can use.
#pragma once

#include <span>

#include "api/views.hpp"

namespace octavo {

struct Placed {
  Name name;
  const TensorView* view;  // null or not given: does not count
};

// Fills `device` (the CPU where nothing is given).
Status check_placement(std::span<const Placed> tensors, Device& device);

// Whether the memory is where the views say, once their extents are known to be sound: a host pointer in a kernel would
// end the process's use of the device. Nothing to see on the CPU.
Status check_pointers(std::span<const Placed> tensors, Device device);

}  // namespace octavo
