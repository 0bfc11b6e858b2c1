// Tensors of N(0, 1) numbers: the same for a seed on every machine and for any number of threads, and touched first by
// the threads that will read them.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "io/tensor.hpp"

namespace octavo::tool {

// dtype f32, f16 or bf16; the name is for messages.
io::Tensor random_tensor(const char* name, DType dtype, std::initializer_list<std::int64_t> shape, std::uint64_t seed);
// Not initialised values, but touched: outputs.
io::Tensor touched_tensor(const char* name, DType dtype, std::initializer_list<std::int64_t> shape);

}  // namespace octavo::tool
