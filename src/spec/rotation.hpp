// The rotation of a row over its channels: y = H (sign * x) / sqrt(n), Walsh-Hadamard in natural order, block by block
// with n the largest power of two that is left of D (96: 64 + 32; 40: 32 + 8). Scores of rotated Q and K are unchanged.
// The f32 bits are specified: signs, then butterflies h = 1, 2, 4, ... on (a + b, a - b), then one product by
// f32(1 / sqrt(n)).
#pragma once

#include <cstdint>

#include "core/inline.hpp"

namespace octavo::spec {

// Channels of the block that starts with `left` channels to go.
OCTAVO_INLINE constexpr std::int64_t rotation_block(std::int64_t left) {
  std::int64_t n = 1;
  while (2 * n <= left) n *= 2;
  return n;
}

// Whether channel c changes its sign: the top bit of a multiplicative hash.
OCTAVO_INLINE constexpr bool rotation_negates(std::int64_t channel) {
  return ((static_cast<std::uint32_t>(channel) + 1u) * 0x9E3779B9u >> 31) != 0;
}

// f32(1 / sqrt(n)), n a power of two.
OCTAVO_INLINE constexpr float rotation_factor(std::int64_t n) {
  float factor = 1.0f;
  for (; n >= 4; n /= 4) factor *= 0.5f;
  return n == 2 ? factor * 0.70710678118654752440f : factor;
}

// In place: x[0..n) <- H x / sqrt(n). T is float, whose bits are specified, or the oracle's double.
template <class T>
OCTAVO_INLINE constexpr void hadamard(T* x, std::int64_t n) {
  for (std::int64_t h = 1; h < n; h *= 2) {
    for (std::int64_t first = 0; first < n; first += 2 * h) {
      for (std::int64_t i = first; i < first + h; ++i) {
        const T a = x[i], b = x[i + h];
        x[i] = a + b;
        x[i + h] = a - b;
      }
    }
  }
  const T factor = rotation_factor(n);
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

template <class T>
OCTAVO_INLINE constexpr void rotate_row(T* x, std::int64_t dim) {
  for (std::int64_t c = 0; c < dim; ++c) {
    if (rotation_negates(c)) x[c] = -x[c];
  }
  for (std::int64_t begin = 0; begin < dim;) {
    const std::int64_t n = rotation_block(dim - begin);
    hadamard(x + begin, n);
    begin += n;
  }
}

// x = sign * (H y) / sqrt(n): H is symmetric and orthonormal, so the steps come in reverse.
template <class T>
OCTAVO_INLINE constexpr void rotate_row_back(T* y, std::int64_t dim) {
  for (std::int64_t begin = 0; begin < dim;) {
    const std::int64_t n = rotation_block(dim - begin);
    hadamard(y + begin, n);
    begin += n;
  }
  for (std::int64_t c = 0; c < dim; ++c) {
    if (rotation_negates(c)) y[c] = -y[c];
  }
}

}  // namespace octavo::spec
