// The content of memory and registers that may not be read yet: not a small number as an integer, a huge one as a
// float.
#pragma once

#include <cstddef>

namespace octavo::cuda::emulation {

constexpr std::byte kPoison{0xfb};

}  // namespace octavo::cuda::emulation
