// Ranges against the definition, key by key, on all small shapes; windows as large as integers go.
#include "spec/visibility.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace octavo::spec {
namespace {

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

// The definition. A window beyond 100 is unlimited for the shapes of this test.
bool defined(Causal causal, std::int64_t left, std::int64_t right, std::int64_t m, std::int64_t n, std::int64_t i,
             std::int64_t j) {
  const std::int64_t d = causal == Causal::top_left ? i : i + n - m;
  if (causal != Causal::none && j > d) return false;
  if (left != -1 && left <= 100 && j < d - left) return false;
  if (right != -1 && right <= 100 && j > d + right) return false;
  return true;
}

template <class Body>
void for_all_shapes(Body body) {
  for (Causal causal : {Causal::none, Causal::bottom_right, Causal::top_left}) {
    for (std::int64_t left : {std::int64_t{-1}, std::int64_t{0}, std::int64_t{1}, std::int64_t{3}, kHuge}) {
      for (std::int64_t right : {std::int64_t{-1}, std::int64_t{0}, std::int64_t{2}, std::int64_t{1} << 40, kHuge}) {
        for (std::int64_t m : {1, 2, 5, 9}) {
          for (std::int64_t n : {0, 1, 4, 5, 7, 16}) body(causal, left, right, m, n);
        }
      }
    }
  }
}

TEST(Visibility, EveryKeyOfEveryRow) {
  for_all_shapes([](Causal causal, std::int64_t left, std::int64_t right, std::int64_t m, std::int64_t n) {
    for (std::int64_t i = 0; i < m; ++i) {
      const KeyRange range = visible_keys(causal, left, right, m, n, i);
      if (range.begin == range.end) {
        ASSERT_EQ(range.begin, 0);
      }
      for (std::int64_t j = 0; j < n; ++j) {
        ASSERT_EQ(j >= range.begin && j < range.end, defined(causal, left, right, m, n, i, j))
            << "m " << m << " n " << n << " i " << i << " j " << j << " window " << left << "," << right;
      }
    }
  });
}

TEST(Visibility, UnionOfABlockOfRows) {
  for_all_shapes([](Causal causal, std::int64_t left, std::int64_t right, std::int64_t m, std::int64_t n) {
    for (std::int64_t first = 0; first < m; ++first) {
      for (std::int64_t last = first; last <= m; ++last) {
        std::int64_t begin = n, end = 0;
        for (std::int64_t i = first; i < last; ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            if (!defined(causal, left, right, m, n, i, j)) continue;
            begin = std::min(begin, j);
            end = std::max(end, j + 1);
          }
        }
        const KeyRange range = visible_keys_of_rows(causal, left, right, m, n, first, last);
        ASSERT_EQ(range.begin, end == 0 ? 0 : begin) << m << " " << n << " " << first << " " << last;
        ASSERT_EQ(range.end, end) << m << " " << n << " " << first << " " << last;
      }
    }
  });
}

TEST(Visibility, WindowsBeyondEveryLength) {
  const std::int64_t rows = std::int64_t{1} << 40;
  EXPECT_EQ(visible_keys(Causal::none, kHuge, kHuge, rows, rows, rows - 1).end, rows);
  EXPECT_EQ(visible_keys(Causal::none, kHuge - 1, -1, rows, rows, 5).begin, 0);
  EXPECT_EQ(visible_keys(Causal::bottom_right, 1024, -1, rows, rows, rows - 1).begin, rows - 1025);
}

}  // namespace
}  // namespace octavo::spec
