// A tensor in global memory and the box of it that one bulk copy brings: what a tensor map says, and its rules (CUDA
// driver API, cuTensorMapEncodeTiled). The first axis is the one whose elements lie side by side. What of a box lies
// outside the tensor arrives as zeros, and counts among its bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/tile/swizzle.hpp"

namespace octavo::cuda {

constexpr int kMostBoxAxes = 3;

// A tensor map in a kernel's parameters (CUtensorMap), as the host side passes it on.
constexpr std::size_t kTensorMapBytes = 128, kTensorMapAlignment = 128;
struct alignas(kTensorMapAlignment) TensorMapBytes {
  std::byte bytes[kTensorMapBytes];
};

struct TensorBox {
  const void* base = nullptr;
  std::uint32_t element_bytes = 1;
  int rank = 2;  // 2 or 3
  std::uint64_t sizes[kMostBoxAxes]{1, 1, 1};
  std::uint64_t strides[kMostBoxAxes]{};     // bytes; the first is not read
  std::uint32_t box[kMostBoxAxes]{1, 1, 1};  // elements
  Swizzle swizzle = Swizzle::none;
};

inline constexpr std::uint32_t bytes_of_box(const TensorBox& map) {
  std::uint32_t bytes = map.element_bytes;
  for (int axis = 0; axis < map.rank; ++axis) bytes *= map.box[axis];
  return bytes;
}

// An error message; null: the box is valid.
inline const char* fault_of_box(const TensorBox& map) {
  if (map.rank < 2 || map.rank > kMostBoxAxes) return "a tensor map here has 2 or 3 axes";
  if (map.element_bytes != 1 && map.element_bytes != 2 && map.element_bytes != 4)
    return "elements have 1, 2 or 4 bytes";
  if (reinterpret_cast<std::uintptr_t>(map.base) % 16 != 0) return "a tensor's address is a multiple of 16";
  for (int axis = 0; axis < map.rank; ++axis) {
    if (map.sizes[axis] < 1 || map.sizes[axis] > std::uint64_t{1} << 32) return "an axis has 1 to 2^32 elements";
    if (map.box[axis] < 1 || map.box[axis] > 256) return "an axis of a box has 1 to 256 elements";
    if (axis > 0 && map.strides[axis] % 16 != 0) return "strides are multiples of 16 bytes";
    if (axis > 0 && map.strides[axis] >= std::uint64_t{1} << 40) return "strides are below 2^40 bytes";
  }
  const std::uint32_t inner = map.box[0] * map.element_bytes;
  if (inner % 16 != 0) return "a row of a box is a multiple of 16 bytes";
  // Narrower ones are legal but lie otherwise than the tensor cores read.
  if (map.swizzle != Swizzle::none && inner != row_bytes(map.swizzle)) {
    return "a row of a swizzled box is as wide as the swizzle";
  }
  return nullptr;
}

}  // namespace octavo::cuda
