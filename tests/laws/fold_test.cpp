// s~ and its edges, and the rule by which Q is taken in 16 bits.
#include "laws/fold.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "laws/query_width.hpp"

namespace octavo::laws {
namespace {

TEST(Fold, RelativeScales) {
  EXPECT_EQ(folded_scale(3.0f, 3.0f), 1.0f);
  EXPECT_EQ(folded_scale(0.75f, 3.0f), 0.25f);
  EXPECT_EQ(folded_scale(0.0f, 3.0f), 0x1p-60f);
  EXPECT_EQ(folded_scale(1e-30f, 1e30f), 0x1p-60f);
  EXPECT_TRUE(std::isnan(folded_scale(NAN, 3.0f)));
}

TEST(Fold, LargestScale) {
  float largest = 0;
  for (float scale : {0.0f, 0.5f, NAN, 0.25f}) largest = grow_largest_scale(largest, scale);
  EXPECT_EQ(largest_scale_or_one(largest), 0.5f);
  EXPECT_EQ(largest_scale_or_one(0.0f), 1.0f);
}

TEST(QueryWidth, SmoothedTokensBelow16Rows) {
  const auto wide = [](const char* text, std::int64_t rows) { return query_is_wide(*parse_recipe(text), rows); };
  for (const char* recipe : {"int8", "int8_p16", "int4"}) {
    EXPECT_TRUE(wide(recipe, 1)) << recipe;
    EXPECT_TRUE(wide(recipe, 15)) << recipe;
    EXPECT_FALSE(wide(recipe, 16)) << recipe;
  }
  for (const char* recipe : {"exact", "int8_block", "int_flash", "sage2_4b", "sage2_8b", "int8,smooth_q=off"}) {
    EXPECT_FALSE(wide(recipe, 1)) << recipe;
  }
}

}  // namespace
}  // namespace octavo::laws
