// NumPy's .npy: magic, version, a Python dictionary with dtype, order and shape, then the elements.
// Versions 1 to 3, little endian, C and Fortran order. bf16 is what ml_dtypes writes: two bytes of '<V2'.
#pragma once

#include <string>
#include <vector>

#include "io/file.hpp"
#include "io/tensor.hpp"

namespace octavo::io {

struct NpyHeader {
  std::string descr;  // "<f4"
  DType dtype = DType::f32;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
  std::uint64_t data_offset = 0;
  std::uint64_t data_bytes = 0;
};

/// Reads and checks everything before the elements, and that the file holds exactly as many bytes as they need.
/// Errors: failed_precondition (not an npy file, truncated, malformed), unimplemented (dtype, big endian, version).
Result<NpyHeader> read_npy_header(const InputFile& file);

/// An array in a .npy has no name of its own: it takes the file's, without directory and suffix.
std::string npy_name(const std::string& path);

Result<Tensor> read_npy(const std::string& path);
Result<Tensor> read_npy(const InputFile& file, const NpyHeader& header);

/// Version 1.0 in C order; any strides. Errors: unimplemented (s4, e4m3, e5m2: NumPy has no name for them).
Status write_npy(const std::string& path, const TensorView& tensor);

}  // namespace octavo::io
