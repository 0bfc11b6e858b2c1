// The safetensors format: u64 header length, a JSON object {name: {dtype, shape, data_offsets}}, then the tensors'
// bytes without gaps. Everything little endian and row-major.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/file.hpp"
#include "io/tensor.hpp"

namespace octavo::io {

using Metadata = std::vector<std::pair<std::string, std::string>>;

/// One tensor of a file, before its elements are read.
struct TensorEntry {
  std::string name;
  std::string dtype_name;      // as the file has it: "F16"
  std::optional<DType> dtype;  // none: the file's type has no counterpart here
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  // of the first element, from the file's begin
  std::uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<TensorEntry> entries;  // in the order of the header
  Metadata metadata;
};

/// Reads and checks the header: known keys, sizes that fit the shapes, tensors that cover the rest of the file without
/// overlap or gap. Errors: failed_precondition, with the byte or the tensor's name.
Result<SafetensorsHeader> read_safetensors_header(const InputFile& file);

/// Errors: unimplemented (dtype, number of axes), resource_exhausted, failed_precondition (the file changed).
Result<Tensor> read_safetensors(const InputFile& file, const TensorEntry& entry);

/// A tensor to be written, with its name.
struct NamedView {
  std::string name;
  TensorView view;
};

/// Any strides. Errors: invalid_argument (a duplicate name), unimplemented (s4: pass the bytes as u8).
Status write_safetensors(const std::string& path, std::span<const NamedView> tensors, const Metadata& metadata = {});

}  // namespace octavo::io
