// Tensors named on the command line: FILE, or FILE:NAME for one of several in a safetensors file.
#pragma once

#include <string>

#include "io/tensor_file.hpp"

namespace octavo::tool {

io::Tensor load_tensor(const std::string& argument);
// The argument's FILE.
std::string file_of(const std::string& argument);

// A tensor without its batch axis, or without heads too, as [1, N, H, D] or [1, H, N, D]; 2 to 4 axes.
TensorView with_batch(const TensorView& x, Layout layout, const std::string& name);
// The reverse, for an output with as many axes as `like`.
TensorView without_batch(const TensorView& x, int rank, Layout layout);

}  // namespace octavo::tool
