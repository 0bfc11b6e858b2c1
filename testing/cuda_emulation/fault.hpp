// An error of an emulated kernel, thrown inside the fiber of the warp that made it; the message says what it did.
#pragma once

#include <stdexcept>
#include <string>

namespace octavo::cuda::emulation {

class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace octavo::cuda::emulation
