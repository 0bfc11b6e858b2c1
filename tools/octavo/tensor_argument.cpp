// Resolves FILE:NAME, a file whose own name has a colon first.
#include "tensor_argument.hpp"

#include <filesystem>
#include <utility>

#include "common/failure.hpp"

namespace octavo::tool {
namespace {

// The file and the tensor's name, which may be empty.
std::pair<std::string, std::string> split(const std::string& argument) {
  std::error_code error;
  const std::size_t colon = argument.find_last_of(':');
  if (colon == std::string::npos || std::filesystem::exists(argument, error)) return {argument, ""};
  return {argument.substr(0, colon), argument.substr(colon + 1)};
}

}  // namespace

io::Tensor load_tensor(const std::string& argument) {
  const auto [path, name] = split(argument);
  return value_of_file(value_of_file(io::TensorFile::open(path)).find(name));
}

std::string file_of(const std::string& argument) { return split(argument).first; }

TensorView with_batch(const TensorView& x, Layout layout, const std::string& name) {
  TensorView result = x;
  result.rank = 4;
  if (x.rank == 4) return result;
  if (x.rank == 3) {
    result.shape = {1, x.shape[0], x.shape[1], x.shape[2]};
    result.strides = {0, x.strides[0], x.strides[1], x.strides[2]};
  } else if (x.rank == 2) {
    const bool nhd = layout == Layout::nhd;
    result.shape = {1, nhd ? x.shape[0] : 1, nhd ? 1 : x.shape[0], x.shape[1]};
    result.strides = {0, nhd ? x.strides[0] : 0, nhd ? 0 : x.strides[0], x.strides[1]};
  } else {
    fail(kExitUsage, name + " has shape " + shape_string(x) +
                         "; required are 2 axes [seqlen, dim], 3 without a batch " + "axis, or 4");
  }
  return result;
}

TensorView without_batch(const TensorView& x, int rank, Layout layout) {
  if (rank == 4) return x;
  if (rank == 3) return TensorView(x.data, x.dtype, {x.shape[1], x.shape[2], x.shape[3]});
  return TensorView(x.data, x.dtype, {layout == Layout::nhd ? x.shape[1] : x.shape[2], x.shape[3]});
}

}  // namespace octavo::tool
