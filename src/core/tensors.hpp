// Tensors as the reference and the kernels of every back end read them: plain data that may be copied to a device and
// used there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

// Steps from element to element along each axis. std::array cannot be used on a device.
template <int kAxes>
struct Strides {
  std::int64_t of[kAxes] = {};
  OCTAVO_MEMBER constexpr std::int64_t& operator[](std::int64_t axis) noexcept { return of[axis]; }
  OCTAVO_MEMBER constexpr const std::int64_t& operator[](std::int64_t axis) const noexcept { return of[axis]; }
  OCTAVO_MEMBER constexpr const std::int64_t* begin() const noexcept { return of; }
  OCTAVO_MEMBER constexpr const std::int64_t* end() const noexcept { return of + kAxes; }
};

// Q, K, V or O in the order (batch, head, row, channel); element strides, any sign. Varlen sequences have no batch
// stride: sequence b starts at row Sequence::{q,k}_begin.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::f32;
  Strides<4> strides;  // b, h, row, channel, in elements (s4: in nibbles)

  // Codes instead of floats: dense f32 scales and means as QuantizedView lays them out.
  bool quantized = false;
  bool rotated = false;
  // Floats from one head to the next, and from one sequence to the next; varlen, what is in row order has no stride of
  // sequences: spec/scale_layout.hpp.
  const float* scales = nullptr;  // null where the recipe has none
  std::int64_t scales_per_head = 0, scales_per_sequence = 0;
  const float* mean = nullptr;  // null: nothing was subtracted
  std::int64_t means_per_head = 0, means_per_sequence = 0;

  // Element offset of (b, h, row, 0).
  OCTAVO_MEMBER constexpr std::int64_t offset(std::int64_t b, std::int64_t h, std::int64_t row) const noexcept {
    return b * strides[0] + h * strides[1] + row * strides[2];
  }
};

// An optional tensor broadcast to up to four axes; stride 0 on broadcast axes. data == nullptr: not given.
struct Broadcast {
  const void* data = nullptr;
  DType dtype = DType::f32;
  Strides<4> strides;  // mask: b, hq, m, n; alibi_slopes and sinks: b, hq, 0, 0
};

// s32 or s64 integers handed in by the caller. On a device only kernels may read them.
struct IntegerArray {
  const void* data = nullptr;
  DType dtype = DType::s32;
  std::int64_t stride = 1;
  OCTAVO_MEMBER std::int64_t operator[](std::int64_t i) const noexcept {
    return dtype == DType::s32 ? static_cast<const std::int32_t*>(data)[i * stride]
                               : static_cast<const std::int64_t*>(data)[i * stride];
  }
};

}  // namespace octavo
