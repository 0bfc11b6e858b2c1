// A file of codes as an operand of a call: written by `octavo quantize`, or by others in the format of
// docs/command_line.md.
#pragma once

#include <optional>
#include <string>

#include "io/tensor.hpp"
#include "octavo/quantize.hpp"

namespace octavo::tool {

struct QuantizedFile {
  io::Tensor codes, scales, mean, cu_seqlens;
  QuantizedView view;  // of these tensors
};

// Nothing where the file holds no codes (a tensor "codes" and the metadata "role").
std::optional<QuantizedFile> load_quantized(const std::string& argument);

}  // namespace octavo::tool
