// The oracle's one container: a dense row-major f32 matrix of one head of one sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace octavo::reference {

struct Matrix {
  std::int64_t rows = 0, cols = 0;
  std::vector<float> data;

  Matrix() = default;
  Matrix(std::int64_t rows_, std::int64_t cols_)
      : rows(rows_), cols(cols_), data(static_cast<std::size_t>(rows_ * cols_)) {}

  float* row(std::int64_t r) { return data.data() + r * cols; }
  const float* row(std::int64_t r) const { return data.data() + r * cols; }
  float& at(std::int64_t r, std::int64_t c) { return data[static_cast<std::size_t>(r * cols + c)]; }
  float at(std::int64_t r, std::int64_t c) const { return data[static_cast<std::size_t>(r * cols + c)]; }
  bool empty() const { return rows == 0; }
};

}  // namespace octavo::reference
