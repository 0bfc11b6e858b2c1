// What is done to rows of numbers before they are quantized: the edges of scales and codes, each by itself.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "tensor.hpp"

namespace octavo::test {

struct Spoilt {
  const char* what;
  void (*spoil)(std::vector<float>& values, const Extents& extents);
};

inline float& at(std::vector<float>& values, const Extents& e, std::int64_t b, std::int64_t h, std::int64_t r,
                 std::int64_t c) {
  return values[static_cast<std::size_t>(((b * e.heads + h) * e.rows + r) * e.dim + c)];
}

inline const Spoilt kSpoilt[] = {
    {"numbers", [](std::vector<float>&, const Extents&) {}},
    {"NaN and infinities",
     [](std::vector<float>& x, const Extents& e) {
       at(x, e, 0, 0, e.rows / 2, e.dim / 2) = std::numeric_limits<float>::quiet_NaN();
       at(x, e, 0, e.heads - 1, e.rows - 1, 0) = std::numeric_limits<float>::infinity();
       at(x, e, e.batch - 1, 0, 0, e.dim - 1) = -std::numeric_limits<float>::infinity();
     }},
    {"a row and a channel of nothing but NaN",
     [](std::vector<float>& x, const Extents& e) {
       for (std::int64_t c = 0; c < e.dim; ++c) at(x, e, 0, 0, 0, c) = std::numeric_limits<float>::quiet_NaN();
       for (std::int64_t r = 0; r < e.rows; ++r) at(x, e, 0, 0, r, 0) = std::numeric_limits<float>::quiet_NaN();
     }},
    {"zeros, minus zeros and denormals",
     [](std::vector<float>& x, const Extents& e) {
       for (std::int64_t c = 0; c < e.dim; ++c) at(x, e, 0, 0, 0, c) = c % 2 == 0 ? 0.0f : -0.0f;
       for (std::int64_t c = 0; c < e.dim; ++c)
         at(x, e, 0, e.heads - 1, e.rows - 1, c) = std::numeric_limits<float>::denorm_min() * static_cast<float>(c);
     }},
    {"the largest numbers",
     [](std::vector<float>& x, const Extents& e) {
       for (std::int64_t c = 0; c < e.dim; c += 3) at(x, e, 0, 0, 0, c) = c % 2 == 0 ? 3.4e38f : -3.4e38f;
     }},
    {"ties between two codes",
     [](std::vector<float>& x, const Extents&) {
       for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<int>(i * 37 % 255) - 127) / 2;
     }},
};

}  // namespace octavo::test
