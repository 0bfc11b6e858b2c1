// Bit layouts: f16 1-5-10, bf16 1-8-7, E4M3 1-4-3 (no infinity), E5M2 1-5-2.
#include "common/elements.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace octavo::tool {
namespace {

template <class T>
T load(const void* base, std::int64_t index) noexcept {
  T value;
  std::memcpy(&value, static_cast<const char*>(base) + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

float e4m3_to_f32(std::uint8_t bits) noexcept {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const float sign = (bits & 0x80) != 0 ? -1.0f : 1.0f;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                               : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10));
}

double number(const TensorView& view, std::int64_t at) noexcept {
  switch (view.dtype) {
    case DType::f32:
      return load<float>(view.data, at);
    case DType::f16:
      return f16_to_f32(load<std::uint16_t>(view.data, at));
    case DType::bf16:
      return bf16_to_f32(load<std::uint16_t>(view.data, at));
    case DType::f64:
      return load<double>(view.data, at);
    case DType::s8:
      return load<std::int8_t>(view.data, at);
    case DType::u8:
    case DType::boolean:
      return load<std::uint8_t>(view.data, at);
    case DType::s16:
      return load<std::int16_t>(view.data, at);
    case DType::u16:
      return load<std::uint16_t>(view.data, at);
    case DType::s32:
      return load<std::int32_t>(view.data, at);
    case DType::u32:
      return load<std::uint32_t>(view.data, at);
    case DType::s64:
      return static_cast<double>(load<std::int64_t>(view.data, at));
    case DType::u64:
      return static_cast<double>(load<std::uint64_t>(view.data, at));
    case DType::e4m3:
      return e4m3_to_f32(load<std::uint8_t>(view.data, at));
    case DType::e5m2:
      return f16_to_f32(static_cast<std::uint16_t>(load<std::uint8_t>(view.data, at) << 8));
    case DType::s4:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

float f16_to_f32(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t exponent = bits >> 10 & 31, mantissa = bits & 0x3FF;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

float bf16_to_f32(std::uint16_t bits) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

std::uint16_t f32_to_f16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7E00);
  if (magnitude >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7C00);
  if (magnitude < 0x1p-14f) {  // subnormal: a multiple of 2^-24, rounded by the default rounding mode
    return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(std::nearbyint(magnitude * 0x1p24f)));
  }
  const std::uint32_t rebased = std::bit_cast<std::uint32_t>(magnitude) - (112u << 23);
  return static_cast<std::uint16_t>(sign | (rebased + 0xFFF + (rebased >> 13 & 1)) >> 13);
}

std::uint16_t f32_to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

bool is_number(DType dtype) noexcept { return dtype != DType::s4; }

std::vector<double> to_f64(const TensorView& view) {
  std::array<std::int64_t, 4> shape{1, 1, 1, 1}, strides{};
  for (int axis = 0; axis < view.rank; ++axis) {
    const auto from = static_cast<std::size_t>(axis), to = static_cast<std::size_t>(axis + 4 - view.rank);
    shape[to] = view.shape[from];
    strides[to] = view.strides[from];
  }
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(view.elements()));
  for (std::int64_t a = 0; a < shape[0]; ++a) {
    for (std::int64_t b = 0; b < shape[1]; ++b) {
      for (std::int64_t c = 0; c < shape[2]; ++c) {
        const std::int64_t row = a * strides[0] + b * strides[1] + c * strides[2];
        for (std::int64_t d = 0; d < shape[3]; ++d) values.push_back(number(view, row + d * strides[3]));
      }
    }
  }
  return values;
}

void store(const TensorView& dense, std::int64_t index, float value) noexcept {
  if (dense.dtype == DType::f32) {
    static_cast<float*>(dense.data)[index] = value;
  } else {
    static_cast<std::uint16_t*>(dense.data)[index] = dense.dtype == DType::f16 ? f32_to_f16(value) : f32_to_bf16(value);
  }
}

}  // namespace octavo::tool
