// What decides over a launch before it is made: whether an operand's rows can be read two channels at a time, and
// whether batch and heads fit the axes of a grid that end at 65535.
#include "cuda/launch.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace octavo::cuda {
namespace {

constexpr std::int64_t kMostBlocks = 65535;

// Whether two neighbouring channels can be read at once wherever a row begins.
bool has_pairs(const Operand& x, std::int64_t dim) {
  const bool floats = x.dtype == DType::f32 || x.dtype == DType::f16 || x.dtype == DType::bf16;
  if (!floats || dim % 2 != 0 || x.strides[3] != 1) return false;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    if (x.strides[axis] % 2 != 0) return false;
  }
  return reinterpret_cast<std::uintptr_t>(x.data) % (x.dtype == DType::f32 ? 8 : 4) == 0;
}

}  // namespace

DeviceRows device_rows(const Operand& x, std::int64_t dim) {
  DeviceRows rows;
  rows.data = x.data;
  rows.dtype = x.dtype;
  rows.pairs = has_pairs(x, dim);
  std::copy(x.strides.begin(), x.strides.end(), rows.strides);
  rows.dim = dim;
  rows.codes = x.quantized;
  rows.scales = x.scales;
  rows.scales_per_head = x.scales_per_head;
  rows.mean = x.mean;
  rows.means_per_head = x.means_per_head;
  return rows;
}

Status check_grid(const char* implementation, std::int64_t batch, std::int64_t heads) {
  if (batch <= kMostBlocks && heads <= kMostBlocks) return {};
  return unimplemented("implementation \"", implementation, "\" does not support batch ", batch, " with ", heads,
                       " heads; it supports up to ", kMostBlocks, " of each");
}

}  // namespace octavo::cuda
