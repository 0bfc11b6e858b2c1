// What memory and registers hold that nothing may be read from yet: no small number as an integer, a huge one as a
// float.
#pragma once

#include <cstddef>

namespace octavo::cuda::emulation {

constexpr std::byte kPoison{0xfb};

}  // namespace octavo::cuda::emulation
