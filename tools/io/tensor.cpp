// Sizes, strides and memory of a Tensor; the gathering of strided views.
#include "io/tensor.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "io/file.hpp"

namespace octavo::io {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMostAxes = 4;

}  // namespace

Result<std::uint64_t> dense_bytes(DType dtype, std::span<const std::int64_t> shape) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
  const auto bits = static_cast<std::uint64_t>(bits_of(dtype));
  std::uint64_t bytes = bits < 8 ? 1 : bits / 8;
  bool empty = false;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] < 0) {
      return Status(StatusCode::kInvalidArgument, "shape has extent " + std::to_string(shape[axis]) + " on axis " +
                                                      std::to_string(axis) + "; extents must be at least 0");
    }
    auto extent = static_cast<std::uint64_t>(shape[axis]);
    if (bits == 4 && axis + 1 == shape.size()) extent = extent / 2 + extent % 2;
    empty = empty || extent == 0;
    extent = std::max<std::uint64_t>(extent, 1);
    if (bytes > kMost / extent) {
      return Status(StatusCode::kInvalidArgument, "shape overflows at axis " + std::to_string(axis) + " of extent " +
                                                      std::to_string(shape[axis]) +
                                                      ": a tensor has at most 2^63 - 1 bytes");
    }
    bytes *= extent;
  }
  return empty ? std::uint64_t{0} : bytes;
}

Result<Tensor> Tensor::allocate(std::string name, DType dtype, std::span<const std::int64_t> shape, bool column_major) {
  if (shape.empty() || shape.size() > kMostAxes) {
    return Status(StatusCode::kUnimplemented,
                  "a tensor with " + std::to_string(shape.size()) + " axes; 1 to 4 axes are supported");
  }
  const Result<std::uint64_t> bytes = dense_bytes(dtype, shape);
  if (!bytes.ok()) return bytes.status();

  Tensor tensor;
  tensor.name_ = std::move(name);
  tensor.bytes_ = *bytes;
  tensor.view_.dtype = dtype;
  tensor.view_.rank = static_cast<int>(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t axis = column_major ? i : shape.size() - 1 - i;
    tensor.view_.shape[axis] = shape[axis];
    tensor.view_.strides[axis] = stride;
    stride *= std::max<std::int64_t>(shape[axis], 1);
  }
  // One spare line: a pointer exists even where there is no element, and the size stays a multiple of the alignment.
  const std::uint64_t reserved = (*bytes / kAlignment + 1) * kAlignment;
  void* memory =
      reserved > std::numeric_limits<std::size_t>::max() ? nullptr : std::aligned_alloc(kAlignment, reserved);
  if (memory == nullptr) {
    return Status(StatusCode::kResourceExhausted, "out of memory for " + std::to_string(*bytes) + " bytes of tensor '" +
                                                      tensor.name_ + "' " + shape_string(tensor.view_));
  }
  tensor.memory_ = std::shared_ptr<void>(memory, std::free);
  tensor.view_.data = memory;
  return tensor;
}

bool is_dense(const TensorView& view) noexcept {
  std::int64_t stride = 1;
  for (int axis = view.rank; axis-- > 0;) {
    const auto a = static_cast<std::size_t>(axis);
    if (view.shape[a] != 1 && view.strides[a] != stride) return false;
    stride *= view.shape[a];
  }
  return true;
}

Result<Tensor> Tensor::copy_of(std::string name, const TensorView& view) {
  if (view.rank < 0 || view.rank > static_cast<int>(kMostAxes)) {
    return Status(StatusCode::kInvalidArgument,
                  "a view of rank " + std::to_string(view.rank) + "; 1 to 4 axes are supported");
  }
  if (view.device.type != DeviceType::cpu) {
    return Status(StatusCode::kUnimplemented, "tensor '" + name + "' is not in CPU memory");
  }
  Result<Tensor> copy =
      allocate(std::move(name), view.dtype, std::span(view.shape.data(), static_cast<std::size_t>(view.rank)));
  if (!copy.ok() || copy->bytes() == 0) return copy;
  auto* target = static_cast<char*>(copy->data());
  if (is_dense(view)) {
    std::memcpy(target, view.data, copy->bytes());
    return copy;
  }
  if (view.dtype == DType::s4) {
    return Status(StatusCode::kUnimplemented, "an s4 tensor with gaps between its rows; only dense s4 is supported");
  }
  // Four axes, missing ones in front with extent 1.
  std::array<std::int64_t, 4> shape{1, 1, 1, 1};
  std::array<std::int64_t, 4> strides{};
  for (int axis = 0; axis < view.rank; ++axis) {
    const auto to = static_cast<std::size_t>(axis + 4 - view.rank);
    shape[to] = view.shape[static_cast<std::size_t>(axis)];
    strides[to] = view.strides[static_cast<std::size_t>(axis)];
  }
  const auto size = static_cast<std::size_t>(bits_of(view.dtype) / 8);
  const auto* source = static_cast<const char*>(view.data);
  for (std::int64_t a = 0; a < shape[0]; ++a) {
    for (std::int64_t b = 0; b < shape[1]; ++b) {
      for (std::int64_t c = 0; c < shape[2]; ++c) {
        const std::int64_t row = a * strides[0] + b * strides[1] + c * strides[2];
        for (std::int64_t d = 0; d < shape[3]; ++d, target += size) {
          std::memcpy(target, source + (row + d * strides[3]) * static_cast<std::int64_t>(size), size);
        }
      }
    }
  }
  return copy;
}

Status read_elements(const InputFile& file, std::uint64_t offset, const Tensor& tensor) {
  if (Status status = file.read(offset, tensor.data(), tensor.bytes()); !status.ok()) return status;
  if (tensor.view().dtype != DType::boolean) return {};
  const auto* begin = static_cast<const unsigned char*>(tensor.data());
  const auto* end = begin + tensor.bytes();
  const auto* bad = std::find_if(begin, end, [](unsigned char byte) { return byte > 1; });
  if (bad == end) return {};
  return file.malformed("boolean " + std::to_string(*bad) + " at byte " +
                        std::to_string(offset + static_cast<std::uint64_t>(bad - begin)) + "; allowed are 0 and 1");
}

}  // namespace octavo::io
