// A tensor that owns its memory, as files give and take it: name, dtype, one to four axes, any order of axes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo::io {

class InputFile;

/// Bytes of a dense tensor of this shape (s4: two elements to a byte along the last axis). Errors name the axis:
/// invalid_argument for a negative extent or a product beyond 2^63 - 1 bytes, even where another extent is 0.
Result<std::uint64_t> dense_bytes(DType dtype, std::span<const std::int64_t> shape);

class Tensor {
 public:
  Tensor() = default;
  /// Memory that is not initialised, aligned to 64 bytes. column_major: the first axis has stride 1 (Fortran order).
  /// Errors: invalid_argument (shape), unimplemented (0 or more than 4 axes), resource_exhausted.
  static Result<Tensor> allocate(std::string name, DType dtype, std::span<const std::int64_t> shape,
                                 bool column_major = false);
  /// A dense row-major copy of a view on the CPU. Errors: as allocate; unimplemented for s4 with other strides.
  static Result<Tensor> copy_of(std::string name, const TensorView& view);

  const std::string& name() const noexcept { return name_; }
  /// A view into this tensor's memory, which must outlive it.
  const TensorView& view() const noexcept { return view_; }
  void* data() const noexcept { return view_.data; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::string name_;
  TensorView view_;
  std::size_t bytes_ = 0;
  std::shared_ptr<void> memory_;
};

/// Whether the elements lie row-major without gaps (extents of 1 may have any stride).
bool is_dense(const TensorView& view) noexcept;

/// Fills the tensor with the file's bytes from `offset` on. A boolean that is neither 0 nor 1 is an error: reading it
/// as a bool would be undefined.
Status read_elements(const InputFile& file, std::uint64_t offset, const Tensor& tensor);

}  // namespace octavo::io
