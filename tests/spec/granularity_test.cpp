// Groups of rows: as partitions, and SageAttention2's per-thread groups against their description by lanes.
#include "spec/granularity.hpp"

#include <gtest/gtest.h>

#include <set>

namespace octavo::spec {
namespace {

Groups preset(Role role, Granularity granularity, Format codes = Format::s8) {
  Recipe recipe;
  recipe.scores = recipe.values = codes;
  recipe.q_scale = recipe.k_scale = recipe.v_scale = granularity;
  return groups_of(role, recipe);
}

TEST(Granularity, GroupsLieWithinTheirCount) {
  for (Role role : {Role::q, Role::k, Role::v}) {
    for (Granularity granularity :
         {Granularity::tensor, Granularity::block, Granularity::warp, Granularity::thread, Granularity::token,
          Granularity::token_folded, Granularity::channel, Granularity::block_channel}) {
      const Groups groups = preset(role, granularity);
      for (std::int64_t rows : {1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300}) {
        for (std::int64_t row = 0; row < rows; ++row) {
          ASSERT_GE(group_of_row(groups, row), 0);
          ASSERT_LT(group_of_row(groups, row), row_groups(groups, rows));
        }
      }
    }
  }
}

TEST(Granularity, BlockSizes) {
  EXPECT_EQ(row_groups(preset(Role::q, Granularity::block), 129), 2);
  EXPECT_EQ(row_groups(preset(Role::k, Granularity::block), 129), 3);
  EXPECT_EQ(row_groups(preset(Role::k, Granularity::block, Format::e4m3), 129), 2);
  EXPECT_EQ(row_groups(preset(Role::q, Granularity::warp), 129), 5);
  EXPECT_EQ(row_groups(preset(Role::k, Granularity::warp), 129), 3);
  Recipe recipe;
  recipe.v_scale = Granularity::block_channel;
  recipe.key_block = 48;
  EXPECT_EQ(row_groups(groups_of(Role::v, recipe), 97), 3);
  EXPECT_EQ(row_groups(preset(Role::q, Granularity::none), 5), 0);
  EXPECT_EQ(scales_per_head(preset(Role::v, Granularity::channel), 500, 40), 40);
  EXPECT_EQ(scales_per_head(preset(Role::v, Granularity::block_channel), 129, 40), 80);
  EXPECT_EQ(scales_per_head(preset(Role::k, Granularity::token), 129, 40), 129);
}

TEST(Granularity, ThreadGroupsAreTheRowsOfALane) {
  // Q: within a warp's 32 rows, group t holds rows t, t + 8, t + 16, t + 24.
  const Groups q = preset(Role::q, Granularity::thread);
  for (std::int64_t warp = 0; warp < 4; ++warp) {
    for (std::int64_t t = 0; t < 8; ++t) {
      for (std::int64_t i = 0; i < 4; ++i) EXPECT_EQ(group_of_row(q, warp * 32 + t + 8 * i), warp * 8 + t);
    }
  }
  EXPECT_EQ(row_groups(q, 128), 32);
  // K: within 64 keys, group u holds rows 8 i + 2 u and 8 i + 2 u + 1.
  const Groups k = preset(Role::k, Granularity::thread);
  for (std::int64_t tile = 0; tile < 3; ++tile) {
    for (std::int64_t u = 0; u < 4; ++u) {
      for (std::int64_t i = 0; i < 8; ++i) {
        EXPECT_EQ(group_of_row(k, tile * 64 + 8 * i + 2 * u), tile * 4 + u);
        EXPECT_EQ(group_of_row(k, tile * 64 + 8 * i + 2 * u + 1), tile * 4 + u);
      }
    }
  }
  EXPECT_EQ(row_groups(k, 65), 8);
}

// SageAttention's kernels for Hopper: a warp owns 16 rows, a tile has 128 keys.
TEST(Granularity, ThreadGroupsOfOtherSlices) {
  Recipe recipe;
  recipe.q_scale = recipe.k_scale = Granularity::thread;
  recipe.q_group = 16;
  recipe.k_group = 128;
  const Groups q = groups_of(Role::q, recipe), k = groups_of(Role::k, recipe);
  EXPECT_EQ(row_groups(q, 64), 32);
  EXPECT_EQ(row_groups(q, 65), 40);
  for (std::int64_t warp = 0; warp < 4; ++warp) {
    for (std::int64_t t = 0; t < 8; ++t) {
      EXPECT_EQ(group_of_row(q, warp * 16 + t), warp * 8 + t);
      EXPECT_EQ(group_of_row(q, warp * 16 + t + 8), warp * 8 + t);
    }
  }
  EXPECT_EQ(row_groups(k, 129), 8);
  for (std::int64_t i = 0; i < 16; ++i) {
    for (std::int64_t u = 0; u < 4; ++u) {
      EXPECT_EQ(group_of_row(k, 128 + 8 * i + 2 * u), 4 + u);
      EXPECT_EQ(group_of_row(k, 128 + 8 * i + 2 * u + 1), 4 + u);
    }
  }
  recipe.q_scale = recipe.k_scale = Granularity::warp;
  EXPECT_EQ(row_groups(groups_of(Role::q, recipe), 129), 9);
  EXPECT_EQ(row_groups(groups_of(Role::k, recipe), 129), 2);
}

}  // namespace
}  // namespace octavo::spec
