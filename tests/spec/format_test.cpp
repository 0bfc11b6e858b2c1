#include "spec/format.hpp"

#include <gtest/gtest.h>

#include "core/float_types.hpp"

namespace octavo::spec {
namespace {

TEST(FormatTest, LargestCodes) {
  EXPECT_EQ(range_of(Format::s8), 127);
  EXPECT_EQ(range_of(Format::s4), 7);
  // The largest finite number there is.
  EXPECT_EQ(range_of(Format::e4m3), e4m3_to_f32(0x7e));
  EXPECT_EQ(range_of(Format::e5m2), e5m2_to_f32(0x7b));
  for (const Format without : {Format::input, Format::f16}) EXPECT_EQ(range_of(without), 1);
}

TEST(FormatTest, DtypesOfCodesHaveTheirFormatsRange) {
  EXPECT_EQ(range_of(DType::s8), range_of(Format::s8));
  EXPECT_EQ(range_of(DType::s4), range_of(Format::s4));
  EXPECT_EQ(range_of(DType::e4m3), range_of(Format::e4m3));
  EXPECT_EQ(range_of(DType::e5m2), range_of(Format::e5m2));
}

TEST(FormatTest, EveryFormatIsOfOneKind) {
  EXPECT_TRUE(is_integer(Format::s8) && is_integer(Format::s4));
  EXPECT_TRUE(is_float8(Format::e4m3) && is_float8(Format::e5m2));
  for (const Format other : {Format::input, Format::f16}) EXPECT_FALSE(is_integer(other) || is_float8(other));
  for (const Format f : {Format::s8, Format::s4}) EXPECT_FALSE(is_float8(f));
  for (const Format f : {Format::e4m3, Format::e5m2}) EXPECT_FALSE(is_integer(f));
}

}  // namespace
}  // namespace octavo::spec
