// Rows whose channels fill a fixed number of registers: loaded and rotated without going through memory. Dense rows of
// 64 and 128 channels are such; all others take load_transformed().
#pragma once

#include <type_traits>

#include "cpu/operands/rotate.hpp"

namespace octavo::cpu {
namespace {

// Calls body(std::integral_constant<int, vectors of a row>) and returns true, or returns false for other rows.
template <class S, class Body>
OCTAVO_INLINE bool with_register_rows(const Operand& x, std::int64_t dim, Body&& body) {
  if (x.strides[3] != 1 || x.quantized) return false;
  if (dim == 128) return body(std::integral_constant<int, 128 / S::kLanes>{}), true;
  if (dim == 64) return body(std::integral_constant<int, 64 / S::kLanes>{}), true;
  return false;
}

// v = the row at element offset `at` of `x`, times `gain` [channels] and rotated, where these are given.
template <class S, int kVectors>
OCTAVO_INLINE void load_rotated(const Operand& x, std::int64_t at, const std::int32_t* signs,
                                typename S::f32 (&v)[kVectors], const float* gain = nullptr) {
  fetch_ahead(x, at, kVectors * S::kLanes);
  if (x.dtype == DType::f32) {
    const float* from = static_cast<const float*>(x.data) + at;
#pragma GCC unroll 64
    for (int i = 0; i < kVectors; ++i) v[i] = S::load(from + i * S::kLanes);
  } else if (x.dtype == DType::bf16) {
    const std::uint16_t* from = static_cast<const std::uint16_t*>(x.data) + at;
#pragma GCC unroll 64
    for (int i = 0; i < kVectors; ++i) v[i] = S::load_bf16(from + i * S::kLanes);
  } else {
    const std::uint16_t* from = static_cast<const std::uint16_t*>(x.data) + at;
#pragma GCC unroll 64
    for (int i = 0; i < kVectors; ++i) v[i] = S::load_f16(from + i * S::kLanes);
  }
  if (gain != nullptr) {
#pragma GCC unroll 64
    for (int i = 0; i < kVectors; ++i) v[i] = S::mul(v[i], S::load(gain + i * S::kLanes));
  }
  if (signs != nullptr) hadamard<S, kVectors>(v, signs);
}

// The reverse: signs are flipped after the rotation.
template <class S, int kVectors>
OCTAVO_INLINE void rotate_back(const std::int32_t* signs, typename S::f32 (&v)[kVectors]) {
  if (signs == nullptr) return;
  hadamard<S, kVectors>(v, nullptr);
#pragma GCC unroll 64
  for (int i = 0; i < kVectors; ++i) v[i] = S::from_bits(S::xor_s32(S::bits(v[i]), S::load(signs + i * S::kLanes)));
}

// v goes where the caller wants the row, in its dtype.
template <class S, int kVectors>
OCTAVO_INLINE void store_as_row(const Operand& x, std::int64_t at, const typename S::f32 (&v)[kVectors]) {
  auto* to = static_cast<std::byte*>(x.data) + at * size_of_float(x.dtype);
#pragma GCC unroll 64
  for (int i = 0; i < kVectors; ++i) store_as<S>(x.dtype, to, i * S::kLanes, v[i]);
}

template <class S, int kVectors>
OCTAVO_INLINE void store_vectors(const typename S::f32 (&v)[kVectors], float* to) {
#pragma GCC unroll 64
  for (int i = 0; i < kVectors; ++i) S::store(to + i * S::kLanes, v[i]);
}

}  // namespace
}  // namespace octavo::cpu
