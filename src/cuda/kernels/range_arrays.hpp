// Ranges in memory: the bits of the largest finite magnitude, and a flag for what is not finite beside it.
#pragma once

#include <cstdint>

namespace octavo::cuda {

struct RangeArrays {
  std::uint32_t* amax = nullptr;  // zero at first
  std::uint32_t* odd = nullptr;   // likewise
};

}  // namespace octavo::cuda
