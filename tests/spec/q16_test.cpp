// Which recipes take Q in 16 bits, and below how many rows.
#include "spec/q16.hpp"

#include <gtest/gtest.h>

namespace octavo::spec {
namespace {

TEST(QueryWidth, SmoothedTokensBelow16Rows) {
  const auto wide = [](const char* text, std::int64_t rows) { return is_q16(*parse_recipe(text), rows); };
  for (const char* recipe : {"int8", "int8_p16", "int4"}) {
    EXPECT_TRUE(wide(recipe, 1)) << recipe;
    EXPECT_TRUE(wide(recipe, 15)) << recipe;
    EXPECT_FALSE(wide(recipe, 16)) << recipe;
  }
  for (const char* recipe : {"exact", "int8_block", "int_flash", "sage2_4b", "sage2_8b", "int8_fast,smooth_q=off"}) {
    EXPECT_FALSE(wide(recipe, 1)) << recipe;
  }
}

}  // namespace
}  // namespace octavo::spec
