// Ranges in memory: the bits of the largest finite magnitude, and a flag for non-finite numbers.
#pragma once

#include <cstdint>

namespace octavo::cuda {

struct RangeArrays {
  std::uint32_t* amax = nullptr;       // zero at first
  std::uint32_t* nonfinite = nullptr;  // likewise
};

}  // namespace octavo::cuda
