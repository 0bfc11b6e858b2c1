// Codes have names, and a Status or Result says what it holds.
#include "octavo/status.hpp"

#include <gtest/gtest.h>

#include <set>

#include "core/text.hpp"
#include "octavo/version.hpp"

namespace octavo {
namespace {

TEST(StatusTest, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 0; code <= 6; ++code) names.insert(to_string(static_cast<StatusCode>(code)));
  EXPECT_EQ(names.size(), 7u);
  EXPECT_EQ(names.count("unknown"), 0u);
  EXPECT_EQ(to_string(StatusCode::kInvalidArgument), "invalid_argument");
  EXPECT_EQ(to_string(static_cast<StatusCode>(99)), "unknown");
}

TEST(StatusTest, SentencesNameValues) {
  const Status status = invalid_argument("q has rank ", 3, " and scale ", 0.5, "; ", std::string("4"), " allowed");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "q has rank 3 and scale 0.5; 4 allowed");
  EXPECT_TRUE(Status().ok());
}

TEST(StatusTest, ResultHoldsAValueOrAStatus) {
  const Result<int> value = 3;
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(*value, 3);
  EXPECT_TRUE(value.status().ok());
  const Result<int> none = unavailable("no device");
  EXPECT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), StatusCode::kUnavailable);
}

TEST(VersionTest, HeadersAndLibraryAgree) { EXPECT_STREQ(version(), OCTAVO_VERSION); }

}  // namespace
}  // namespace octavo
