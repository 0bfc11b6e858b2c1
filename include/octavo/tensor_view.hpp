// A non-owning view of a tensor: pointer, dtype, device, shape and strides.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "octavo/export.hpp"

namespace octavo {

/// Element types. s4 has two signed nibbles per byte along the innermost axis, the even index in the low nibble; e4m3
/// is the "fn" variant (no infinity, largest value 448), e5m2 the IEEE-like one.
enum class DType : std::uint8_t { f32, f16, bf16, f64, s8, u8, s16, u16, s32, u32, s64, u64, s4, e4m3, e5m2, boolean };

OCTAVO_API std::string_view to_string(DType dtype) noexcept;
/// Bits of one element: 32 for f32, 4 for s4.
OCTAVO_API int bits_of(DType dtype) noexcept;

enum class DeviceType : std::uint8_t { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  std::int32_t index = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

/// Order of the axes of Q, K, V and O: NHD = [batch, seqlen, heads, head_dim], HND = [batch, heads, seqlen, head_dim].
/// Varlen sequences, without a batch axis: [total, heads, head_dim] and [heads, total, head_dim].
enum class Layout : std::uint8_t { nhd, hnd };

OCTAVO_API std::string_view to_string(Layout layout) noexcept;

/// Up to four axes; strides count elements (not bytes) and may be zero or negative. A view with a null pointer and
/// rank 0 stands for "not given".
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::f32;
  Device device{};
  int rank = 0;
  std::array<std::int64_t, 4> shape{};
  std::array<std::int64_t, 4> strides{};

  TensorView() = default;
  /// A dense row-major tensor: the last axis has stride 1.
  TensorView(const void* pointer, DType type, std::initializer_list<std::int64_t> extents) noexcept
      : data(const_cast<void*>(pointer)), dtype(type), rank(static_cast<int>(extents.size())) {
    int axis = 0;
    for (std::int64_t extent : extents) shape[static_cast<std::size_t>(axis++)] = extent;
    std::int64_t stride = 1;
    for (axis = rank; axis-- > 0;) {
      strides[static_cast<std::size_t>(axis)] = stride;
      stride *= shape[static_cast<std::size_t>(axis)];
    }
  }
  /// Any strides, in elements.
  TensorView(const void* pointer, DType type, std::initializer_list<std::int64_t> extents,
             std::initializer_list<std::int64_t> steps) noexcept
      : TensorView(pointer, type, extents) {
    int axis = 0;
    for (std::int64_t step : steps) strides[static_cast<std::size_t>(axis++)] = step;
  }

  /// Whether a tensor was given. An empty tensor (an extent of 0) is given even if its pointer is null.
  bool given() const noexcept { return rank > 0; }
  std::int64_t elements() const noexcept {
    std::int64_t count = 1;
    for (int axis = 0; axis < rank; ++axis) count *= shape[static_cast<std::size_t>(axis)];
    return count;
  }
};

/// "[1, 8, 4096, 128]", for messages.
OCTAVO_API std::string shape_string(const TensorView& view);

}  // namespace octavo
