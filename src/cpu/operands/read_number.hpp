// One element of the optional tensors: masks, slopes, sinks.
#pragma once

#include "core/float_types.hpp"
#include "core/inline.hpp"
#include "core/problem.hpp"

namespace octavo::cpu {
namespace {

// An element of an optional tensor as f32; what is finite stays finite.
OCTAVO_INLINE float read_number(const Broadcast& x, std::int64_t at) {
  switch (x.dtype) {
    case DType::f32:
      return static_cast<const float*>(x.data)[at];
    case DType::f16:
      return f16_to_f32(static_cast<const std::uint16_t*>(x.data)[at]);
    case DType::bf16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(x.data)[at]);
    default:
      break;
  }
  const double value = static_cast<const double*>(x.data)[at];
  if (value > 3.4028234663852886e38 && value < __builtin_inf()) return 3.40282347e38f;
  if (value < -3.4028234663852886e38 && value > -__builtin_inf()) return -3.40282347e38f;
  return static_cast<float>(value);
}

}  // namespace
}  // namespace octavo::cpu
