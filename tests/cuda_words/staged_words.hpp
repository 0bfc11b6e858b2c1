// The staged product as a word: u8 x s8, 64 x 64, four steps of 128 bytes in two stages; its operands and its sums.
#pragma once

#include <vector>

#include "staged_product.hpp"

namespace octavo::cuda {

constexpr int kStagedWidth = 64, kStagedSteps = 4, kStagedDepth = 128 * kStagedSteps;
using StagedWord = StagedProduct<Mma::u8s8, kStagedWidth>;

// Row-major, [64, kStagedDepth] each: u8 on the left, s8 on the right.
struct StagedOperands {
  std::vector<std::uint8_t> a, b;
  StagedOperands() {
    for (std::uint32_t i = 0; i < 64 * kStagedDepth; ++i) {
      a.push_back(static_cast<std::uint8_t>(i * 2654435761u >> 24));
      b.push_back(static_cast<std::uint8_t>(i * 2246822519u >> 23));
    }
  }
  static TensorBox box(const void* of) {
    TensorBox box;
    box.base = of;
    box.sizes[0] = box.strides[1] = kStagedDepth;
    box.sizes[1] = box.box[1] = 64;
    box.box[0] = 128;
    box.swizzle = Swizzle::bytes128;
    return box;
  }
  int wrong(const std::vector<std::int32_t>& c) const {
    int count = 0;
    for (std::size_t row = 0; row < 64; ++row) {
      for (std::size_t column = 0; column < kStagedWidth; ++column) {
        std::int32_t sum = 0;
        for (std::size_t k = 0; k < kStagedDepth; ++k) {
          sum += a[row * kStagedDepth + k] * static_cast<std::int8_t>(b[column * kStagedDepth + k]);
        }
        count += sum != c[row * kStagedWidth + column];
      }
    }
    return count;
  }
};

}  // namespace octavo::cuda
