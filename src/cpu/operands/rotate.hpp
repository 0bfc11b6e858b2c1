// The rotation (spec/rotation.hpp) on dense rows, a vector at a time, bit for bit: the butterflies inside a vector
// are a primitive of the policy, those between vectors are additions.
#pragma once

#include "cpu/operands/load.hpp"
#include "cpu/simd/policy.hpp"
#include "spec/rotation.hpp"

namespace octavo::cpu {
namespace {

// Walsh-Hadamard over kVectors * kLanes channels; signs are flipped on the way in (null: not).
template <class S, int kVectors>
OCTAVO_INLINE void hadamard(typename S::f32 (&v)[kVectors], const std::int32_t* signs) {
#pragma GCC unroll 64
  for (int i = 0; i < kVectors; ++i) {
    if (signs != nullptr) v[i] = S::from_bits(S::xor_s32(S::bits(v[i]), S::load(signs + i * S::kLanes)));
    if constexpr (S::kLanes >= 2) v[i] = S::template butterfly<1>(v[i]);
    if constexpr (S::kLanes >= 4) v[i] = S::template butterfly<2>(v[i]);
    if constexpr (S::kLanes >= 8) v[i] = S::template butterfly<4>(v[i]);
    if constexpr (S::kLanes >= 16) v[i] = S::template butterfly<8>(v[i]);
  }
#pragma GCC unroll 8
  for (int h = 1; h < kVectors; h *= 2) {
#pragma GCC unroll 64
    for (int i = 0; i < kVectors; ++i) {
      if ((i & h) != 0) continue;
      const auto a = v[i], b = v[i + h];
      v[i] = S::add(a, b);
      v[i + h] = S::sub(a, b);
    }
  }
  const auto factor = S::set1(spec::rotation_factor(kVectors * S::kLanes));
#pragma GCC unroll 64
  for (int i = 0; i < kVectors; ++i) v[i] = S::mul(v[i], factor);
}

template <class S, int kVectors>
OCTAVO_INLINE void hadamard_vectors(float* x, const std::int32_t* signs) {
  typename S::f32 v[kVectors];
#pragma GCC unroll 64
  for (int i = 0; i < kVectors; ++i) v[i] = S::load(x + i * S::kLanes);
  hadamard<S, kVectors>(v, signs);
#pragma GCC unroll 64
  for (int i = 0; i < kVectors; ++i) S::store(x + i * S::kLanes, v[i]);
}

template <class S>
OCTAVO_INLINE void flip_signs(float* x, const std::int32_t* signs, std::int64_t dim) {
  for (std::int64_t c = 0; c < dim; c += S::kLanes)
    S::store(x + c, S::from_bits(S::xor_s32(S::bits(S::load(x + c)), S::load(signs + c))));
}

// Shorter than a vector (the padding lanes stay what they are), or longer than the registers hold.
template <class S>
OCTAVO_INLINE void hadamard_other(float* x, const std::int32_t* signs, std::int64_t n) {
  for (std::int64_t c = 0; signs != nullptr && c < n; ++c)
    if (signs[c] != 0) x[c] = -x[c];
  spec::hadamard(x, n);
}

template <class S>
OCTAVO_INLINE void hadamard_block(float* x, const std::int32_t* signs, std::int64_t n) {
  switch (n / S::kLanes) {
    case 1:
      return hadamard_vectors<S, 1>(x, signs);
    case 2:
      return hadamard_vectors<S, 2>(x, signs);
    case 4:
      return hadamard_vectors<S, 4>(x, signs);
    case 8:
      return hadamard_vectors<S, 8>(x, signs);
    case 16:
      return hadamard_vectors<S, 16>(x, signs);
    default:
      return hadamard_other<S>(x, signs, n);
  }
}

template <class S>
OCTAVO_INLINE void hadamard_blocks(float* x, const std::int32_t* signs, std::int64_t dim) {
  for (std::int64_t begin = 0; begin < dim;) {
    const std::int64_t n = spec::rotation_block(dim - begin);
    hadamard_block<S>(x + begin, signs == nullptr ? nullptr : signs + begin, n);
    begin += n;
  }
}

// Sign bits of the rotation for padded rows: signs[c] has the sign bit set where channel c changes its sign, and
// nothing set in the padding, which whole vectors read too.
OCTAVO_INLINE void rotation_signs(std::int32_t* signs, std::int64_t dim) {
  for (std::int64_t c = 0; c < padded(dim); ++c) signs[c] = c < dim && spec::rotation_negates(c) ? INT32_MIN : 0;
}

// Rows and signs are padded to whole vectors (rows with zeros or anything: padding lanes keep their place).
template <class S>
OCTAVO_INLINE void rotate_row(float* x, const std::int32_t* signs, std::int64_t dim) {
  hadamard_blocks<S>(x, signs, dim);
}
template <class S>
OCTAVO_INLINE void rotate_row_back(float* x, const std::int32_t* signs, std::int64_t dim) {
  hadamard_blocks<S>(x, nullptr, dim);
  flip_signs<S>(x, signs, dim);
}

}  // namespace
}  // namespace octavo::cpu
