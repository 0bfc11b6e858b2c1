// What each variable may hold, and that it is read once.
#include "core/env.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/thread_pool.hpp"

namespace octavo {
namespace {

TEST(EnvTest, NothingSet) {
  const Environment env = parse_environment(nullptr, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(env.force_implementation, "");
  EXPECT_EQ(env.num_threads, 0);
  EXPECT_EQ(env.log, LogLevel::off);
  EXPECT_TRUE(env.num_threads_status.ok());
  EXPECT_TRUE(env.log_status.ok());
  EXPECT_TRUE(env.interleave_softmax_status.ok());
  EXPECT_FALSE(env.interleave_softmax.has_value());
  EXPECT_TRUE(env.cuda_ping_pong_status.ok());
  EXPECT_FALSE(env.cuda_ping_pong.has_value());
  EXPECT_TRUE(parse_environment("", "", "", "", "").num_threads_status.ok()) << "empty is not set";
}

TEST(EnvTest, GoodValues) {
  const Environment env = parse_environment("scalar", "12", "dispatch", "off", "on");
  EXPECT_EQ(env.force_implementation, "scalar");
  EXPECT_EQ(env.num_threads, 12);
  EXPECT_EQ(env.log, LogLevel::dispatch);
  EXPECT_EQ(env.interleave_softmax, false);
  EXPECT_EQ(env.cuda_ping_pong, true);
  EXPECT_EQ(parse_environment(nullptr, nullptr, nullptr, "on", nullptr).interleave_softmax, true);
  EXPECT_EQ(parse_environment(nullptr, "0", "trace", nullptr, nullptr).log, LogLevel::trace);
  EXPECT_EQ(parse_environment(nullptr, nullptr, "error", nullptr, nullptr).log, LogLevel::error);
  EXPECT_EQ(parse_environment(nullptr, nullptr, "warn", nullptr, nullptr).log, LogLevel::warn);
  EXPECT_EQ(parse_environment(nullptr, nullptr, "info", nullptr, nullptr).log, LogLevel::info);
}

TEST(EnvTest, BadValuesAreNamedTogetherWithWhatIsAllowed) {
  for (const char* threads : {"abc", "-2", "3x", "1.5", " 4", "99999999999999999999", "1025"}) {
    const Environment env = parse_environment(nullptr, threads, nullptr, nullptr, nullptr);
    EXPECT_EQ(env.num_threads_status.code(), StatusCode::kInvalidArgument) << threads;
    EXPECT_NE(env.num_threads_status.message().find("OCTAVO_NUM_THREADS is \"" + std::string(threads) + "\""),
              std::string::npos);
    EXPECT_NE(env.num_threads_status.message().find("1024"), std::string::npos);
    EXPECT_EQ(env.num_threads, 0);
  }
  const Environment env = parse_environment(nullptr, nullptr, "verbose", "yes", "1");
  EXPECT_EQ(env.log_status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(env.log_status.message().find("\"verbose\""), std::string::npos);
  EXPECT_NE(env.log_status.message().find("dispatch"), std::string::npos);
  EXPECT_EQ(env.interleave_softmax_status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(env.interleave_softmax_status.message().find("\"yes\"; allowed are on and off"), std::string::npos);
  EXPECT_EQ(env.cuda_ping_pong_status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(env.cuda_ping_pong_status.message().find("OCTAVO_CUDA_PING_PONG is \"1\""), std::string::npos);
}

// In a process of its own, where nothing has read the environment yet. Exit code 0: as expected.
TEST(EnvDeathTest, ReadOnceAndSettersWin) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        setenv("OCTAVO_NUM_THREADS", "5", 1);
        bool right = num_threads() == 5;
        setenv("OCTAVO_NUM_THREADS", "7", 1);
        right = right && num_threads() == 5;
        set_num_threads(2);
        right = right && num_threads() == 2;
        set_num_threads(-1);
        right = right && num_threads() == 5;
        std::_Exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(EnvDeathTest, ASetterMakesABadThreadCountMoot) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        setenv("OCTAVO_NUM_THREADS", "many", 1);
        bool right = thread_count_status().code() == StatusCode::kInvalidArgument;
        set_num_threads(0);
        right = right && thread_count_status().ok();
        set_num_threads(-1);
        right = right && thread_count_status().code() == StatusCode::kInvalidArgument;
        std::_Exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace octavo
