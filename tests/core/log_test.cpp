// Silence by default, levels, a sink, and stderr when OCTAVO_LOG asks for it.
#include "core/log.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace octavo {
namespace {

void collect(void* context, LogLevel, std::string_view line) {
  static_cast<std::vector<std::string>*>(context)->emplace_back(line);
}

TEST(LogTest, ASinkGetsTheLinesUpToItsLevel) {
  std::vector<std::string> lines;
  set_log_sink(collect, &lines, LogLevel::info);
  EXPECT_TRUE(log_enabled(LogLevel::error));
  EXPECT_TRUE(log_enabled(LogLevel::info));
  EXPECT_FALSE(log_enabled(LogLevel::dispatch));
  log_line(LogLevel::error, "one");
  log_line(LogLevel::info, "two");
  log_line(LogLevel::dispatch, "three");
  set_log_sink(nullptr, nullptr, LogLevel::off);
  log_line(LogLevel::error, "four");
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two"}));
}

TEST(LogDeathTest, SilentUnlessAsked) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        unsetenv("OCTAVO_LOG");
        log_line(LogLevel::error, "unheard");
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(0), "^$");
  EXPECT_EXIT(
      {
        setenv("OCTAVO_LOG", "warn", 1);
        log_line(LogLevel::warn, "heard");
        log_line(LogLevel::info, "unheard");
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(0), "^octavo: heard\n$");
}

}  // namespace
}  // namespace octavo
