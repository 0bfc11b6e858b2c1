// Which format a file has, and one list of entries for both.
#include "io/tensor_file.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "io/npy.hpp"

namespace octavo::io {
namespace {

constexpr std::size_t kMostNamesListed = 20;

std::string names_of(const std::vector<TensorEntry>& entries) {
  std::string names;
  for (std::size_t i = 0; i < entries.size() && i < kMostNamesListed; ++i)
    names += (i > 0 ? ", " : "") + entries[i].name;
  if (entries.size() > kMostNamesListed) names += ", ... (" + std::to_string(entries.size()) + " in all)";
  return names.empty() ? "no tensor" : names;
}

}  // namespace

Result<TensorFile> TensorFile::open(const std::string& path) {
  Result<InputFile> opened = InputFile::open(path);
  if (!opened.ok()) return opened.status();
  TensorFile result;
  result.file_ = std::make_shared<InputFile>(*std::move(opened));
  const InputFile& file = *result.file_;

  std::array<char, 6> magic{};
  if (file.size() >= magic.size()) {
    if (Status status = file.read(0, magic.data(), magic.size()); !status.ok()) return status;
  }
  if (std::memcmp(magic.data(), "\x93NUMPY", magic.size()) == 0) {
    Result<NpyHeader> header = read_npy_header(file);
    if (!header.ok()) return header.status();
    result.npy_ = true;
    result.fortran_order_ = header->fortran_order;
    result.entries_.push_back(
        {npy_name(path), header->descr, header->dtype, header->shape, header->data_offset, header->data_bytes});
    return result;
  }
  if (path.ends_with(".npy")) return file.malformed("does not start with the npy magic bytes \\x93NUMPY");
  if (magic[0] == 'P' && magic[1] == 'K')
    return file.unsupported("is a zip archive (.npz?); .npy and .safetensors are supported");
  Result<SafetensorsHeader> header = read_safetensors_header(file);
  if (!header.ok()) return header.status();
  result.entries_ = std::move(header->entries);
  result.metadata_ = std::move(header->metadata);
  return result;
}

std::string_view TensorFile::metadata(std::string_view key) const noexcept {
  for (const auto& [name, value] : metadata_) {
    if (name == key) return value;
  }
  return {};
}

bool TensorFile::contains(std::string_view name) const noexcept {
  return std::any_of(entries_.begin(), entries_.end(), [&](const TensorEntry& entry) { return entry.name == name; });
}

Result<Tensor> TensorFile::find(std::string_view name) const {
  const TensorEntry* found = name.empty() && entries_.size() == 1 ? &entries_[0] : nullptr;
  for (const TensorEntry& entry : entries_) {
    if (entry.name == name) found = &entry;
  }
  if (found == nullptr) {
    return file_->malformed((name.empty() ? std::string("does not have exactly one tensor; name one of: ")
                                          : "no tensor '" + std::string(name) + "'; it has ") +
                            names_of(entries_));
  }
  if (!npy_) return read_safetensors(*file_, *found);
  NpyHeader header;
  header.dtype = *found->dtype;
  header.fortran_order = fortran_order_;
  header.shape = found->shape;
  header.data_offset = found->offset;
  header.data_bytes = found->bytes;
  return read_npy(*file_, header);
}

Status write_tensor(const std::string& path, const std::string& name, const TensorView& tensor) {
  if (path.ends_with(".npy")) return write_npy(path, tensor);
  if (path.ends_with(".safetensors")) {
    const NamedView named{name, tensor};
    return write_safetensors(path, {&named, 1});
  }
  return {StatusCode::kInvalidArgument, "'" + path + "': the name must end in .npy or .safetensors"};
}

}  // namespace octavo::io
