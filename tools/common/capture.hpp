// Q, K and V of a model's layers as `octavo demo` and `octavo study` read them: one safetensors file with L<layer>.q
// [Hq, M, D], L<layer>.k [Hkv, N, D] and L<layer>.v [Hkv, N, Dv].
#pragma once

#include <string>
#include <vector>

#include "io/tensor.hpp"

namespace octavo::tool {

struct Layer {
  std::string name;  // "L14"
  io::Tensor q, k, v;
};

// The default file: beside the working directory, the binary, or in its installation; a Failure lists where it was
// searched.
std::string find_default_capture();
// Layers in ascending order; shapes and dtypes are checked.
std::vector<Layer> read_capture(const std::string& path);
// False if the file's metadata has causal = "0" (scripts/capture_models.py writes it).
bool is_causal_capture(const std::string& path);
// N(0, 1) in the same shapes and dtypes.
std::vector<Layer> random_like(const std::vector<Layer>& layers);

}  // namespace octavo::tool
