// Elements of the caller's broadcast tensors: masks, ALiBi's slopes, sinks.
#pragma once

#include <cstdint>

#include "core/float_types.hpp"
#include "core/problem.hpp"
#include "cuda/tile/machine.hpp"
#include "spec/base2.hpp"

namespace octavo::cuda {

// How an element of a tensor of the caller's is read: dtypes of one size share their code.
enum class ElementKind { boolean, bits16, bits32_or_64 };

// f.template operator()<kind>() for the dtype's.
template <class F>
OCTAVO_DEVICE void with_element_kind(DType dtype, F&& f) {
  if (dtype == DType::boolean) {
    f.template operator()<ElementKind::boolean>();
  } else if (dtype == DType::f16 || dtype == DType::bf16) {
    f.template operator()<ElementKind::bits16>();
  } else {
    f.template operator()<ElementKind::bits32_or_64>();
  }
}

// An element as f32; what is finite stays finite. A bool: 0 where it is true, else -infinity.
template <ElementKind kind, class Machine>
OCTAVO_DEVICE float read_element(const Broadcast& x, std::int64_t at) {
  if constexpr (kind == ElementKind::boolean) {
    return static_cast<const std::uint8_t*>(x.data)[at] != 0 ? 0.0f : -__builtin_inff();
  } else if constexpr (kind == ElementKind::bits16) {
    const std::uint16_t bits = static_cast<const std::uint16_t*>(x.data)[at];
    return x.dtype == DType::bf16 ? bf16_to_f32(bits) : Machine::from_f16(bits);
  } else {
    if (x.dtype == DType::f32) return static_cast<const float*>(x.data)[at];
    const double value = static_cast<const double*>(x.data)[at];
    const auto y = static_cast<float>(value);
    const bool overflowed = __builtin_fabsf(y) == __builtin_inff() && __builtin_fabs(value) != __builtin_inf();
    return overflowed ? (y < 0 ? -spec::kMostF32 : spec::kMostF32) : y;
  }
}

template <class Machine>
OCTAVO_DEVICE float read_number(const Broadcast& x, std::int64_t at) {
  float value = 0;
  with_element_kind(x.dtype, [&]<ElementKind kind>() { value = read_element<kind, Machine>(x, at); });
  return value;
}

}  // namespace octavo::cuda
