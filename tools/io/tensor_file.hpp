// A file of tensors whatever its format: opened by what its first bytes say, listed, and read tensor by tensor.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/safetensors.hpp"
#include "io/tensor.hpp"

namespace octavo::io {

class TensorFile {
 public:
  /// .npy (one tensor, named after the file) or .safetensors. Reads and checks the header only.
  static Result<TensorFile> open(const std::string& path);

  const std::string& path() const noexcept { return file_->path(); }
  const std::vector<TensorEntry>& list() const noexcept { return entries_; }
  /// safetensors' free text; "" where the key is missing.
  const Metadata& metadata() const noexcept { return metadata_; }
  std::string_view metadata(std::string_view key) const noexcept;
  bool contains(std::string_view name) const noexcept;

  /// Reads a tensor. "" stands for the only one. Errors: failed_precondition (no such name: lists those there are).
  Result<Tensor> find(std::string_view name) const;

 private:
  std::shared_ptr<InputFile> file_;
  std::vector<TensorEntry> entries_;
  Metadata metadata_;
  bool npy_ = false;
  bool fortran_order_ = false;
};

/// Writes one tensor as the path's suffix says: .npy or .safetensors (there under `name`).
Status write_tensor(const std::string& path, const std::string& name, const TensorView& tensor);

}  // namespace octavo::io
