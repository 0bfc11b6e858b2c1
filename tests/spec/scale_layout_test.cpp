// Places of scales and means beside codes: by arrays written out number by number as docs/quantization.md lays them
// out, in which every sequence, head and index must find its own number again.
#include "spec/scale_layout.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace octavo::spec {
namespace {

constexpr std::int64_t kHeads = 3, kDim = 5;
// Rows of the sequences: none, one, a block's last row, a block and one.
constexpr std::array<std::int64_t, 5> kRows{7, 0, 1, 128, 129};

float number(std::int64_t b, std::int64_t h, std::int64_t i) { return static_cast<float>((b * kHeads + h) * 1000 + i); }

// [B, H, n], n the same for every sequence.
std::vector<float> by_sequence(std::int64_t n) {
  std::vector<float> all;
  for (std::int64_t b = 0; b < static_cast<std::int64_t>(kRows.size()); ++b)
    for (std::int64_t h = 0; h < kHeads; ++h)
      for (std::int64_t i = 0; i < n; ++i) all.push_back(number(b, h, i));
  return all;
}

// [H, sum of all n]: a head's numbers of all sequences one after another.
std::vector<float> in_row_order(const std::vector<std::int64_t>& n) {
  std::vector<float> all;
  for (std::int64_t h = 0; h < kHeads; ++h)
    for (std::size_t b = 0; b < n.size(); ++b)
      for (std::int64_t i = 0; i < n[b]; ++i) all.push_back(number(static_cast<std::int64_t>(b), h, i));
  return all;
}

std::int64_t sum(const std::vector<std::int64_t>& n) {
  std::int64_t total = 0;
  for (const std::int64_t x : n) total += x;
  return total;
}

void expect_own_numbers(const Operand& x, const Groups& groups, bool packed, const std::vector<std::int64_t>& rows,
                        const std::vector<std::int64_t>& scales, const std::vector<std::int64_t>& means) {
  ScaleCursor walk(x, groups, kDim, packed);
  for (std::size_t b = 0; b < rows.size(); ++b) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      for (std::int64_t i = 0; i < scales[b]; ++i)
        ASSERT_EQ(scales_at(x, walk.place(), h)[i], number(static_cast<std::int64_t>(b), h, i))
            << "scale " << i << " of head " << h << ", sequence " << b;
      for (std::int64_t i = 0; i < means[b]; ++i)
        ASSERT_EQ(means_at(x, walk.place(), h)[i], number(static_cast<std::int64_t>(b), h, i))
            << "mean " << i << " of head " << h << ", sequence " << b;
    }
    walk.pass(rows[b]);
  }
}

const Groups kKinds[] = {{Granularity::tensor, Role::q, 1},       {Granularity::tensor, Role::v, 1},
                         {Granularity::channel, Role::v, 1},      {Granularity::block, Role::q, 128},
                         {Granularity::block, Role::k, 64},       {Granularity::block, Role::v, 128},
                         {Granularity::warp, Role::q, 32},        {Granularity::thread, Role::q, 32},
                         {Granularity::thread, Role::k, 64},      {Granularity::token, Role::q, 1},
                         {Granularity::token_folded, Role::v, 1}, {Granularity::block_channel, Role::v, 128}};

// Sequences of one length: everything is [B, H, n].
TEST(SideArrays, Batched) {
  const std::int64_t rows = 129;
  for (const Groups& groups : kKinds) {
    SCOPED_TRACE(testing::Message() << "granularity " << static_cast<int>(groups.granularity) << " of "
                                    << to_string(groups.role));
    const std::int64_t scales = scales_per_head(groups, rows, kDim);
    const std::int64_t means = groups.role == Role::q ? 2 * kDim : kDim;  // Q's: of two blocks
    const std::vector<float> scale_numbers = by_sequence(scales), mean_numbers = by_sequence(means);
    Operand x;
    x.scales = scale_numbers.data();
    x.scales_per_head = scales;
    x.scales_per_sequence = kHeads * scales;
    x.mean = mean_numbers.data();
    x.means_per_head = means;
    x.means_per_sequence = kHeads * means;
    const std::size_t b = kRows.size();
    expect_own_numbers(x, groups, false, std::vector(b, rows), std::vector(b, scales), std::vector(b, means));
  }
}

// Packed, what does not grow with the rows stays [B, H, n]; the rest, and the means of Q's blocks, is in row order.
TEST(SideArrays, Packed) {
  const std::vector<std::int64_t> rows(kRows.begin(), kRows.end());
  for (const Groups& groups : kKinds) {
    SCOPED_TRACE(testing::Message() << "granularity " << static_cast<int>(groups.granularity) << " of "
                                    << to_string(groups.role));
    const bool one_set = groups.granularity == Granularity::tensor || groups.granularity == Granularity::channel;
    EXPECT_NE(grows_with_rows(groups.granularity), one_set);
    std::vector<std::int64_t> scales, means;
    for (const std::int64_t r : rows) {
      scales.push_back(one_set && groups.granularity == Granularity::tensor ? 1
                       : one_set                                            ? kDim
                                                                            : scales_per_head(groups, r, kDim));
      means.push_back(groups.role == Role::q ? (r + 127) / 128 * kDim : kDim);
    }
    const std::vector<float> scale_numbers = one_set ? by_sequence(scales[0]) : in_row_order(scales);
    const std::vector<float> mean_numbers = groups.role == Role::q ? in_row_order(means) : by_sequence(kDim);
    Operand x;
    x.scales = scale_numbers.data();
    x.scales_per_head = one_set ? scales[0] : sum(scales);
    x.scales_per_sequence = one_set ? kHeads * scales[0] : 0;
    x.mean = mean_numbers.data();
    x.means_per_head = groups.role == Role::q ? sum(means) : kDim;
    x.means_per_sequence = groups.role == Role::q ? 0 : kHeads * kDim;
    expect_own_numbers(x, groups, true, rows, scales, means);
  }
}

TEST(SideArrays, WhatIsNotThereHasNoPlace) {
  const Operand x;
  EXPECT_EQ(scales_at(x, {5, 6}, 2), nullptr);
  EXPECT_EQ(means_at(x, {5, 6}, 2), nullptr);
  EXPECT_FALSE(grows_with_rows(Granularity::none));
}

// The bound is reached, and no division of the rows into sequences exceeds it.
TEST(SideArrays, MostGroupsOfVarlenSequences) {
  const Groups all[] = {{Granularity::block, Role::k, 3},
                        {Granularity::thread, Role::q, 4},
                        {Granularity::token, Role::v, 1},
                        {Granularity::block_channel, Role::v, 2}};
  for (const Groups& groups : all) {
    for (std::int64_t total = 0; total <= 9; ++total) {
      std::int64_t most = 0;
      for (std::int64_t a = 0; a <= total; ++a) {
        for (std::int64_t b = 0; a + b <= total; ++b) {
          const std::int64_t sum = row_groups(groups, a) + row_groups(groups, b) + row_groups(groups, total - a - b);
          most = sum > most ? sum : most;
        }
      }
      EXPECT_EQ(most_row_groups(groups, total, 3), most) << total << " rows";
    }
  }
  EXPECT_EQ(most_query_blocks(300, 2), 4);
  EXPECT_EQ(most_query_blocks(1, 5), 1);
}

}  // namespace
}  // namespace octavo::spec
