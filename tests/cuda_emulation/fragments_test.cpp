// The table of fragments against the PTX ISA's own words, instruction by instruction ("Matrix fragments for
// mma.m16n8k16",
// "... k32", "... k64"): element i of a lane's fragment, counted over its registers, groupID = lane / 4, thread = lane
// % 4.
#include "cuda/tile/fragments.hpp"

#include <gtest/gtest.h>

namespace octavo::cuda {
namespace {

template <int elements>
void expect_tables(Place (*a)(int group, int thread, int i), Place (*b)(int group, int thread, int i)) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4 * elements; ++i) {
      EXPECT_EQ(place_in_a<elements>(lane, i / elements, i % elements), a(lane / 4, lane % 4, i)) << lane << " " << i;
    }
    for (int i = 0; i < 2 * elements; ++i) {
      EXPECT_EQ(place_in_b<elements>(lane, i / elements, i % elements), b(lane / 4, lane % 4, i)) << lane << " " << i;
    }
  }
}

TEST(Fragments, OfF16AndBf16K16) {
  expect_tables<2>(
      [](int group, int thread, int i) {
        const bool upper = (i >= 0 && i < 2) || (i >= 4 && i < 6);
        return Place{upper ? group : group + 8, i < 4 ? thread * 2 + (i & 1) : thread * 2 + (i & 1) + 8};
      },
      [](int group, int thread, int i) {
        return Place{i < 2 ? thread * 2 + (i & 1) : thread * 2 + (i & 1) + 8, group};
      });
}

TEST(Fragments, OfS8U8AndE4m3K32) {
  expect_tables<4>(
      [](int group, int thread, int i) {
        const bool upper = (i >= 0 && i < 4) || (i >= 8 && i < 12);
        return Place{upper ? group : group + 8, i < 8 ? thread * 4 + (i & 3) : thread * 4 + (i & 3) + 16};
      },
      [](int group, int thread, int i) {
        return Place{i < 4 ? thread * 4 + (i & 3) : thread * 4 + (i & 3) + 16, group};
      });
}

TEST(Fragments, OfS4K64) {
  expect_tables<8>(
      [](int group, int thread, int i) {
        const bool upper = (i >= 0 && i < 8) || (i >= 16 && i < 24);
        return Place{upper ? group : group + 8, i < 16 ? thread * 8 + (i & 7) : thread * 8 + (i & 7) + 32};
      },
      [](int group, int thread, int i) {
        return Place{i < 8 ? thread * 8 + (i & 7) : thread * 8 + (i & 7) + 32, group};
      });
}

TEST(Fragments, OfTheSums) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const Place expected{i < 2 ? lane / 4 : lane / 4 + 8, lane % 4 * 2 + (i & 1)};
      EXPECT_EQ(place_in_c(lane, i), expected);
    }
  }
}

// ldmatrix: lane l receives elements 2 (l % 4) and the next one of row l / 4; lanes 0-7 bring the rows' addresses of
// the first matrix, 8-15 of the second, and so on.
TEST(Fragments, OfLdmatrix) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 2; ++i) EXPECT_EQ(place_in_ldmatrix(lane, i), (Place{lane / 4, 2 * (lane % 4) + i}));
    EXPECT_EQ(lane_of_matrix_row(lane / 8, lane % 8), lane);
  }
}

}  // namespace
}  // namespace octavo::cuda
