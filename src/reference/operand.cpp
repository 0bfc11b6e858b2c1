// One switch over dtypes in each direction.
#include "reference/operand.hpp"

#include <cfloat>
#include <cmath>

#include "core/float_types.hpp"

namespace octavo::reference {
namespace {

template <class T>
T element(const void* data, std::int64_t index) {
  return static_cast<const T*>(data)[index];
}

std::int32_t nibble(const void* data, std::int64_t index) {
  const std::uint8_t byte = static_cast<const std::uint8_t*>(data)[index >> 1];
  const std::int32_t value = (index & 1) != 0 ? byte >> 4 : byte & 15;
  return value >= 8 ? value - 16 : value;
}

void store_nibble(void* data, std::int64_t index, std::int32_t value) {
  std::uint8_t& byte = static_cast<std::uint8_t*>(data)[index >> 1];
  const int bits = value & 15;
  byte = static_cast<std::uint8_t>((index & 1) != 0 ? (byte & 0x0f) | (bits << 4) : (byte & 0xf0) | bits);
}

float saturated(double value) {
  if (std::isfinite(value) && value > FLT_MAX) return FLT_MAX;
  if (std::isfinite(value) && value < -FLT_MAX) return -FLT_MAX;
  return static_cast<float>(value);
}

}  // namespace

double read_element(const void* data, DType dtype, std::int64_t index) {
  switch (dtype) {
    case DType::f32:
      return element<float>(data, index);
    case DType::f64:
      return element<double>(data, index);
    case DType::f16:
      return f16_to_f32(element<std::uint16_t>(data, index));
    case DType::bf16:
      return bf16_to_f32(element<std::uint16_t>(data, index));
    case DType::e4m3:
      return e4m3_to_f32(element<std::uint8_t>(data, index));
    case DType::e5m2:
      return e5m2_to_f32(element<std::uint8_t>(data, index));
    case DType::s8:
      return element<std::int8_t>(data, index);
    case DType::u8:
      return element<std::uint8_t>(data, index);
    case DType::s4:
      return nibble(data, index);
    case DType::boolean:
      return element<std::uint8_t>(data, index) != 0;
    default:
      return std::nan("");
  }
}

Matrix load_rows(const Operand& operand, std::int64_t b, std::int64_t h, std::int64_t first, std::int64_t rows,
                 std::int64_t dim) {
  Matrix result(rows, dim);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t start = operand.offset(b, h, first + row);
    for (std::int64_t c = 0; c < dim; ++c) {
      result.at(row, c) = static_cast<float>(read_element(operand.data, operand.dtype, start + c * operand.strides[3]));
    }
  }
  return result;
}

void store_output_row(const Operand& out, std::int64_t b, std::int64_t h, std::int64_t row, const double* values,
                      std::int64_t dim) {
  const std::int64_t start = out.offset(b, h, row);
  for (std::int64_t c = 0; c < dim; ++c) {
    const std::int64_t index = start + c * out.strides[3];
    const float value = saturated(values[c]);
    if (out.dtype == DType::f16) {
      static_cast<std::uint16_t*>(out.data)[index] = f32_to_f16_saturating(value);
    } else if (out.dtype == DType::bf16) {
      static_cast<std::uint16_t*>(out.data)[index] = f32_to_bf16_saturating(value);
    } else {
      static_cast<float*>(out.data)[index] = value;
    }
  }
}

void store_codes(const Operand& operand, std::int64_t b, std::int64_t h, const Matrix& codes) {
  for (std::int64_t row = 0; row < codes.rows; ++row) {
    const std::int64_t start = operand.offset(b, h, row);
    for (std::int64_t c = 0; c < codes.cols; ++c) {
      const std::int64_t index = start + c * operand.strides[3];
      const float value = codes.at(row, c);
      switch (operand.dtype) {
        case DType::s4:
          store_nibble(operand.data, index, static_cast<std::int32_t>(value));
          break;
        case DType::e4m3:
          static_cast<std::uint8_t*>(operand.data)[index] = f32_to_e4m3(value);
          break;
        case DType::e5m2:
          static_cast<std::uint8_t*>(operand.data)[index] = f32_to_e5m2(value);
          break;
        default:
          static_cast<std::int8_t*>(operand.data)[index] = static_cast<std::int8_t>(value);
          break;
      }
    }
  }
}

}  // namespace octavo::reference
