// Names of dtypes and layouts, shapes as text, and the bits of an element.
#include "octavo/tensor_view.hpp"

#include <algorithm>

namespace octavo {

std::string_view to_string(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::f64:
      return "f64";
    case DType::s8:
      return "s8";
    case DType::u8:
      return "u8";
    case DType::s16:
      return "s16";
    case DType::u16:
      return "u16";
    case DType::s32:
      return "s32";
    case DType::u32:
      return "u32";
    case DType::s64:
      return "s64";
    case DType::u64:
      return "u64";
    case DType::s4:
      return "s4";
    case DType::e4m3:
      return "e4m3";
    case DType::e5m2:
      return "e5m2";
    case DType::boolean:
      return "bool";
  }
  return "unknown dtype";
}

int bits_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::s4:
      return 4;
    case DType::s8:
    case DType::u8:
    case DType::e4m3:
    case DType::e5m2:
    case DType::boolean:
      return 8;
    case DType::f16:
    case DType::bf16:
    case DType::s16:
    case DType::u16:
      return 16;
    case DType::f32:
    case DType::s32:
    case DType::u32:
      return 32;
    case DType::f64:
    case DType::s64:
    case DType::u64:
      return 64;
  }
  return 0;
}

std::string_view to_string(Layout layout) noexcept { return layout == Layout::nhd ? "NHD" : "HND"; }

std::string shape_string(const TensorView& view) {
  std::string words = "[";
  const int rank = std::clamp(view.rank, 0, 4);
  for (int axis = 0; axis < rank; ++axis) {
    if (axis > 0) words += ", ";
    words += std::to_string(view.shape[static_cast<std::size_t>(axis)]);
  }
  return words + "]";
}

}  // namespace octavo
