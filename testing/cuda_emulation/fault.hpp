// What an emulated kernel did wrong, in words: thrown where it happens, inside the warp's fiber.
#pragma once

#include <stdexcept>
#include <string>

namespace octavo::cuda::emulation {

class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace octavo::cuda::emulation
