// Rows of floats between the caller's memory (f32, f16, bf16; any strides) and dense f32 rows padded with zeros.
#pragma once

#include <cstring>

#include "core/problem.hpp"
#include "cpu/operands/tile_config.hpp"
#include "cpu/simd/policy.hpp"

namespace octavo::cpu {
namespace {

// Largest padded(D) or padded(Dv).
inline constexpr std::int64_t kMaxPadded = padded(kMostHeadDim);

template <class S>
OCTAVO_INLINE typename S::f32 load_as_f32(DType dtype, const void* p, std::int64_t at) {
  if (dtype == DType::f32) return S::load(static_cast<const float*>(p) + at);
  if (dtype == DType::f16) return S::load_f16(static_cast<const std::uint16_t*>(p) + at);
  return S::load_bf16(static_cast<const std::uint16_t*>(p) + at);
}

// Bytes of an f32, f16 or bf16.
OCTAVO_INLINE std::int64_t size_of_float(DType dtype) { return dtype == DType::f32 ? 4 : 2; }

// Prefetches the row that is kFetchRows rows ahead; outside the tensor that has no effect. The arithmetic is unsigned:
// the stride of an axis with one row may be any number.
OCTAVO_INLINE void fetch_ahead(const Operand& x, std::int64_t at, std::int64_t dim) {
  const auto size = static_cast<std::uint64_t>(size_of_float(x.dtype));
  const std::uint64_t element = static_cast<std::uint64_t>(at) + kFetchRows * static_cast<std::uint64_t>(x.strides[2]);
  const std::uint64_t row = reinterpret_cast<std::uintptr_t>(x.data) + element * size;
  for (std::uint64_t byte = 0; byte < static_cast<std::uint64_t>(dim) * size; byte += kCacheLine)
    __builtin_prefetch(reinterpret_cast<const void*>(row + byte));
}

// to[0..padded(dim)) = the row at element offset `at` of `x`, then zeros.
template <class S>
OCTAVO_INLINE void load_row(const Operand& x, std::int64_t at, std::int64_t dim, float* to) {
  const std::int64_t size = size_of_float(x.dtype);
  const auto* from = static_cast<const std::byte*>(x.data) + at * size;
  const std::int64_t stride = x.strides[3];
  fetch_ahead(x, at, dim);
  std::int64_t d = 0;
  if (stride == 1)
    for (; d + S::kLanes <= dim; d += S::kLanes) S::store(to + d, load_as_f32<S>(x.dtype, from, d));
  for (; d < dim; d += S::kLanes) {  // a tail or a strided row goes through a small dense copy
    alignas(64) std::byte dense[S::kLanes * 4] = {};
    const std::int64_t count = dim - d < S::kLanes ? dim - d : S::kLanes;
    for (std::int64_t i = 0; i < count; ++i)
      std::memcpy(dense + i * size, from + (d + i) * stride * size, static_cast<std::size_t>(size));
    S::store(to + d, load_as_f32<S>(x.dtype, dense, 0));
  }
  for (; d < padded(dim); d += S::kLanes) S::store(to + d, S::set1(0.0f));
}

template <class S>
OCTAVO_INLINE void store_as(DType dtype, void* p, std::int64_t at, typename S::f32 x) {
  if (dtype == DType::f32) {
    S::store(static_cast<float*>(p) + at, x);
  } else if (dtype == DType::f16) {
    // Finite results stay finite: f16 saturates at its largest number, infinities and NaN pass.
    const auto clamped = S::max(S::set1(-65504.0f), S::min(S::set1(65504.0f), x));
    S::store_f16(static_cast<std::uint16_t*>(p) + at, S::select(S::is_finite(x), clamped, x));
  } else {
    // Likewise bf16: rounding must not carry a finite number into infinity.
    const auto largest = S::set1(3.3895314e38f);
    const auto clamped = S::max(S::sub(S::set1(0.0f), largest), S::min(largest, x));
    S::store_bf16(static_cast<std::uint16_t*>(p) + at, S::select(S::is_finite(x), clamped, x));
  }
}

// The row at element offset `at` of `x` = from[0..dim); `from` is readable up to padded(dim).
template <class S>
OCTAVO_INLINE void store_row(const Operand& x, std::int64_t at, std::int64_t dim, const float* from) {
  const std::int64_t size = size_of_float(x.dtype);
  auto* to = static_cast<std::byte*>(x.data) + at * size;
  const std::int64_t stride = x.strides[3];
  std::int64_t d = 0;
  if (stride == 1)
    for (; d + S::kLanes <= dim; d += S::kLanes) store_as<S>(x.dtype, to, d, S::load(from + d));
  for (; d < dim; d += S::kLanes) {
    alignas(64) std::byte dense[S::kLanes * 4];
    store_as<S>(x.dtype, dense, 0, S::load(from + d));
    const std::int64_t count = dim - d < S::kLanes ? dim - d : S::kLanes;
    for (std::int64_t i = 0; i < count; ++i)
      std::memcpy(to + (d + i) * stride * size, dense + i * size, static_cast<std::size_t>(size));
  }
}

}  // namespace
}  // namespace octavo::cpu
