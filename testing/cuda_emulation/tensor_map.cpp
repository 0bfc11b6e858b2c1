// The copy engine's walk over a box: its elements in row order, zeros for those outside of the tensor, each chunk of 16
// bytes to the place that the swizzle gives it.
#include "cuda_emulation/tensor_map.hpp"

#include <algorithm>
#include <cstring>

#include "core/text.hpp"
#include "cuda_emulation/fault.hpp"

namespace octavo::cuda::emulation {
namespace {

constexpr std::uint32_t kBoxAlignment = 128;

}  // namespace

BulkCopy read_box(int warp, const TensorMap& map, std::uint32_t to, const std::array<std::int32_t, kMostBoxAxes>& at) {
  const TensorBox& box = map.box;
  if (const char* fault = fault_of_box(box); fault != nullptr) {
    throw Fault(text("warp ", warp, " copies by a tensor map that there cannot be: ", fault));
  }
  const std::uint32_t alignment =
      box.swizzle == Swizzle::none ? kBoxAlignment : std::max(kBoxAlignment, atom_bytes(box.swizzle));
  if (to % alignment != 0) {
    throw Fault(text("warp ", warp, " copies a box to byte ", to, " of shared memory, which is not a multiple of ",
                     alignment, box.swizzle == Swizzle::none ? "" : ", where the swizzle's pattern starts"));
  }
  BulkCopy copy;
  copy.bytes.assign(bytes_of_box(box), std::byte{0});
  const auto inside = [&](std::int64_t place, int axis) {
    return place >= 0 && static_cast<std::uint64_t>(place) < box.sizes[axis];
  };
  std::byte* element = copy.bytes.data();
  for (std::uint32_t z = 0; z < (box.rank > 2 ? box.box[2] : 1); ++z) {
    for (std::uint32_t y = 0; y < box.box[1]; ++y) {
      const std::int64_t row = std::int64_t{at[1]} + y, plane = box.rank > 2 ? std::int64_t{at[2]} + z : 0;
      for (std::uint32_t x = 0; x < box.box[0]; ++x, element += box.element_bytes) {
        const std::int64_t column = std::int64_t{at[0]} + x;
        if (!inside(column, 0) || !inside(row, 1) || !inside(plane, 2)) continue;
        const auto offset = static_cast<std::uint64_t>(plane) * box.strides[2] +
                            static_cast<std::uint64_t>(row) * box.strides[1] +
                            static_cast<std::uint64_t>(column) * box.element_bytes;
        std::memcpy(element, static_cast<const std::byte*>(box.base) + offset, box.element_bytes);
      }
    }
  }
  for (std::uint32_t byte = 0; byte < copy.bytes.size(); byte += kChunk) {
    copy.to.push_back(swizzled(box.swizzle, to + byte));
  }
  return copy;
}

BulkCopy read_bytes(int warp, const void* from, std::uint32_t to, std::uint32_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(from) % kChunk != 0 || to % kChunk != 0 || bytes % kChunk != 0) {
    throw Fault(text("warp ", warp, " copies ", bytes, " bytes to byte ", to,
                     " of shared memory; both, and the address in global memory, must be multiples of 16"));
  }
  BulkCopy copy;
  copy.bytes.resize(bytes);
  std::memcpy(copy.bytes.data(), from, bytes);
  for (std::uint32_t byte = 0; byte < bytes; byte += kChunk) copy.to.push_back(to + byte);
  return copy;
}

}  // namespace octavo::cuda::emulation
