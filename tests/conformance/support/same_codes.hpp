// Codes, scales and means against the oracle's, byte for byte, on whatever device they are.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "octavo/quantize.hpp"
#include "spoilt.hpp"
#include "tensor.hpp"

namespace octavo::test {

struct Shape {
  Extents extents;
  Placement place;
};

inline Tensor normal_rows(DType dtype, const Shape& shape, const Spoilt& spoilt = kSpoilt[0], std::uint32_t seed = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(shape.extents.elements()));
  for (float& x : values) x = normal(random);
  spoilt.spoil(values, shape.extents);
  Tensor x(dtype, shape.extents, shape.place);
  x.fill(values);
  return x;
}

// copy(to, view, bytes) reads a dense view's memory.
template <class Copy>
std::vector<unsigned char> bytes_of(const TensorView& view, Copy&& copy) {
  if (!view.given()) return {};
  const std::int64_t elements = view.shape[0] * view.strides[0];
  std::vector<unsigned char> bytes(static_cast<std::size_t>((elements * bits_of(view.dtype) + 7) / 8));
  if (!bytes.empty()) copy(bytes.data(), view, bytes.size());
  return bytes;
}
inline void copy_on_host(void* to, const TensorView& view, std::size_t bytes) { std::memcpy(to, view.data, bytes); }

// NaN equals NaN whatever its payload; everything else is compared bit by bit. `expected` is on the host.
template <class Copy>
::testing::AssertionResult same_floats(const TensorView& got, const TensorView& expected, Copy&& copy) {
  if (shape_string(got) != shape_string(expected))
    return ::testing::AssertionFailure() << "shape " << shape_string(got);
  const std::vector<unsigned char> a = bytes_of(got, copy), b = bytes_of(expected, copy_on_host);
  for (std::size_t i = 0; i + 4 <= b.size(); i += 4) {
    float x, y;
    std::memcpy(&x, a.data() + i, 4);
    std::memcpy(&y, b.data() + i, 4);
    if (std::memcmp(&x, &y, 4) != 0 && !(std::isnan(x) && std::isnan(y)))
      return ::testing::AssertionFailure() << "element " << i / 4 << " is " << x << ", expected " << y;
  }
  return ::testing::AssertionSuccess();
}

template <class Copy>
void expect_same_codes(const QuantizedView& got, const QuantizedView& expected, Copy&& copy) {
  ASSERT_EQ(got.codes.dtype, expected.codes.dtype);
  ASSERT_EQ(got.codes.strides, expected.codes.strides);
  EXPECT_EQ(bytes_of(got.codes, copy), bytes_of(expected.codes, copy_on_host)) << "codes differ";
  EXPECT_TRUE(same_floats(got.scales, expected.scales, copy)) << "scales";
  EXPECT_TRUE(same_floats(got.mean, expected.mean, copy)) << "mean";
}

}  // namespace octavo::test
