// One row of the table of CUDA implementations.
#pragma once

#include "cuda/cuda.hpp"

namespace octavo::cuda {

struct Implementation {
  const char* name;
  const char* description;
  int capability;  // least compute capability, 80 for 8.0
};

}  // namespace octavo::cuda
