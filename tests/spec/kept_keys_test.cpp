// Kept keys against definitions written out: the near strips of every row, the steps, the candidates of heavy keys.
#include "spec/kept_keys.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace octavo::spec {
namespace {

Recipe keeping(int first, int near, int heavy) {
  Recipe recipe;
  recipe.keep_first = first, recipe.keep_near = near, recipe.keep_heavy = heavy;
  return recipe;
}

TEST(KeptKeys, NearKeysAreStripsAroundTheDiagonal) {
  for (Causal causal : {Causal::none, Causal::bottom_right, Causal::top_left}) {
    for (const auto& [queries, keys] : {std::pair{40, 40}, {40, 61}, {61, 40}, {1, 33}, {33, 1}}) {
      for (int left : {-1, 0, 20}) {
        const PositionMask mask{causal, left, -1, queries, keys};
        for (int near = 0; near <= 3; ++near) {
          const KeptKeys kept{0, near, 0, near > 0 ? near - 1 : 0};
          for (int row = 0; row < queries; ++row) {
            const int centre = causal == Causal::top_left ? row : row + keys - queries;
            const KeyRange seen = visible_keys(causal, left, -1, queries, keys, row);
            const KeyRange range = near_keys(kept, mask, row);
            for (int key = 0; key < keys; ++key) {
              const double from_strip = std::floor(key / 16.0) - std::floor(centre / 16.0);
              const bool expected =
                  near > 0 && key >= seen.begin && key < seen.end &&
                  (causal == Causal::none ? std::abs(from_strip) <= near - 1 : from_strip >= 1 - near && key <= centre);
              EXPECT_EQ(key >= range.begin && key < range.end, expected)
                  << static_cast<int>(causal) << " " << queries << "x" << keys << " near " << near << " row " << row;
            }
          }
        }
      }
    }
  }
}

TEST(KeptKeys, StepsFollowTheShape) {
  const Recipe recipe = keeping(1, 2, 16);
  EXPECT_EQ(kept_keys_of(recipe, {Causal::bottom_right, -1, -1, 2048, 2048}), (KeptKeys{1, 2, 15}));
  EXPECT_EQ(kept_keys_of(recipe, {Causal::none, -1, -1, 2048, 2048}), (KeptKeys{1, 2, 15, 1}));
  EXPECT_EQ(kept_keys_of(recipe, {Causal::none, -1, -1, 2047, 2047}), (KeptKeys{1, 2, 15}));
  EXPECT_EQ(kept_keys_of(recipe, {Causal::none, -1, -1, 512, 512}), (KeptKeys{1, 2, 15}));
  EXPECT_EQ(kept_keys_of(recipe, {Causal::none, -1, -1, 511, 511}), (KeptKeys{1, 2, 7}));
  EXPECT_EQ(kept_keys_of(recipe, {Causal::none, -1, -1, 129, 129}), (KeptKeys{1, 2, 7}));
  // The middle row of 1023 sees 512 keys, that of 1021 sees 511.
  EXPECT_EQ(kept_keys_of(recipe, {Causal::bottom_right, -1, -1, 1023, 1023}), (KeptKeys{1, 2, 15}));
  EXPECT_EQ(kept_keys_of(recipe, {Causal::bottom_right, -1, -1, 1021, 1021}), (KeptKeys{1, 2, 7}));
  // Cross-attention has no near keys; a window gives a position back.
  EXPECT_EQ(kept_keys_of(recipe, {Causal::none, -1, -1, 100, 200}), (KeptKeys{1, 0, 7}));
  EXPECT_EQ(kept_keys_of(recipe, {Causal::none, 10, -1, 100, 200}), (KeptKeys{1, 2, 7}));
  // Fewer than 16 query rows have no block mean to tell heavy keys by.
  EXPECT_EQ(kept_keys_of(recipe, {Causal::bottom_right, -1, -1, 15, 200}), (KeptKeys{1, 2, 0}));
  Recipe without = recipe;
  without.smooth_q = false;
  EXPECT_EQ(kept_keys_of(without, {Causal::none, -1, -1, 640, 640}), (KeptKeys{1, 2, 0}));
}

TEST(KeptKeys, TheListIsShortOrWholeSixteens) {
  const PositionMask shorter{Causal::none, -1, -1, 511, 511}, longer{Causal::none, -1, -1, 512, 512};
  for (int first = 0; first <= kMostKeptFirst; ++first) {
    for (int heavy = 0; heavy <= kMostKeptHeavy; ++heavy) {
      SCOPED_TRACE(testing::Message() << first << " first, " << heavy << " heavy");
      const KeptKeys few = kept_keys_of(keeping(first, 1, heavy), shorter);
      const KeptKeys many = kept_keys_of(keeping(first, 1, heavy), longer);
      EXPECT_EQ(few.first, first);
      EXPECT_EQ(many.first, first);
      EXPECT_EQ(few.heavy, first + heavy <= 8 ? heavy : std::max(0, 8 - first));
      EXPECT_EQ(many.heavy, first + heavy <= 16 ? heavy : std::max(0, (first + heavy) / 16 * 16 - first));
    }
  }
}

TEST(KeptKeys, ShortSequencesKeepAll) {
  const Recipe recipe = keeping(1, 2, 16);
  for (Causal causal : {Causal::none, Causal::bottom_right, Causal::top_left}) {
    for (const auto& [queries, keys] : {std::pair{128, 128}, {1, 128}, {128, 1}, {40, 61}}) {
      const PositionMask mask{causal, 30, -1, queries, keys};
      const KeptKeys kept = kept_keys_of(recipe, mask);
      EXPECT_EQ(kept, (KeptKeys{.all = true}));
      EXPECT_TRUE(keeps_any(kept));
      for (int row = 0; row < queries; ++row) {
        EXPECT_EQ(near_keys(kept, mask, row).begin, visible_keys(mask, row).begin);
        EXPECT_EQ(near_keys(kept, mask, row).end, visible_keys(mask, row).end);
      }
    }
    EXPECT_FALSE(kept_keys_of(recipe, {causal, -1, -1, 129, 128}).all);
    EXPECT_FALSE(kept_keys_of(recipe, {causal, -1, -1, 128, 129}).all);
    // Without near keys the recipe keeps what it names.
    EXPECT_FALSE(kept_keys_of(keeping(1, 0, 16), {causal, -1, -1, 100, 100}).all);
    EXPECT_FALSE(keeps_any(kept_keys_of(keeping(0, 0, 0), {causal, -1, -1, 100, 100})));
  }
}

TEST(KeptKeys, HeavyCandidatesLieBeforeTheBlock) {
  const KeptKeys kept{2, 0, 4};
  const PositionMask causal{Causal::bottom_right, -1, -1, 300, 320};
  EXPECT_EQ(heavy_candidates(kept, causal, 128, 256).begin, 2);
  EXPECT_EQ(heavy_candidates(kept, causal, 128, 256).end, 148);  // the diagonal of row 128
  EXPECT_EQ(heavy_candidates(kept, {Causal::none, -1, -1, 300, 320}, 128, 256).end, 320);
  const KeyRange in_window = heavy_candidates(kept, {Causal::bottom_right, 50, -1, 300, 320}, 128, 256);
  EXPECT_EQ(in_window.begin, 98);
  EXPECT_EQ(in_window.end, 148);
  const KeyRange none = heavy_candidates({2, 0, 0}, causal, 128, 256);
  EXPECT_EQ(none.begin, none.end);
}

TEST(KeptKeys, ColumnsHaveRoom) {
  // The widest query block: unaligned diagonal, every strip.
  for (int near = 1; near <= kMostKeptNear; ++near) {
    const KeptKeys kept{0, near, 0, near - 1};
    const PositionMask mask{Causal::none, 100000, 100000, 5000, 5009};
    const KeyRange top = near_keys(kept, mask, 1280), bottom = near_keys(kept, mask, 1280 + 127);
    EXPECT_LE((bottom.end - top.begin / 16 * 16 + 15) / 16 * 16 + kMostKeptFirst + kMostKeptHeavy,
              most_kept_columns(near));
  }
}

}  // namespace
}  // namespace octavo::spec
