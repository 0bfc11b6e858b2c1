// What attention from the definition needs around a row: keys by channel, and all rows of all heads on all threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/parallel_for.hpp"

namespace octavo::tool {

// x [H, N, D] -> [H, D, N], so that a loop over the keys of one channel is contiguous.
template <typename T>
std::vector<T> by_channel(const std::vector<T>& x, std::int64_t heads, std::int64_t rows, std::int64_t dim) {
  std::vector<T> result(x.size());
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t n = 0; n < rows; ++n) {
      for (std::int64_t d = 0; d < dim; ++d) {
        result[static_cast<std::size_t>((h * dim + d) * rows + n)] =
            x[static_cast<std::size_t>((h * rows + n) * dim + d)];
      }
    }
  }
  return result;
}

// attend(head, row, scratch) for every row of every head; scratch has k_rows elements.
template <typename T, typename Attend>
void for_each_row(std::int64_t heads, std::int64_t q_rows, std::int64_t k_rows, const Attend& attend) {
  constexpr std::int64_t kRowsPerTask = 32;
  const std::int64_t tasks_per_head = (q_rows + kRowsPerTask - 1) / kRowsPerTask;
  parallel_for(heads * tasks_per_head, [&](std::int64_t task) {
    const std::int64_t begin = task % tasks_per_head * kRowsPerTask;
    std::vector<T> scratch(static_cast<std::size_t>(k_rows));
    for (std::int64_t row = begin; row < std::min(begin + kRowsPerTask, q_rows); ++row)
      attend(task / tasks_per_head, row, scratch.data());
  });
}

// How many keys a row sees: all, or causal those up to the bottom-right diagonal.
inline std::int64_t visible_keys(std::int64_t row, std::int64_t q_rows, std::int64_t k_rows, bool causal) {
  return causal ? std::clamp<std::int64_t>(row + k_rows - q_rows + 1, 0, k_rows) : k_rows;
}

}  // namespace octavo::tool
