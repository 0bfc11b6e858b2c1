// Names of implementations: listed, forced, unknown, and never the oracle by accident.
#include "octavo/implementation.hpp"

#include <cstdlib>
#include <set>
#include <thread>

#include "call.hpp"
#include "core/log.hpp"

namespace octavo {
namespace {

class ImplementationTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(force_implementation("").ok()); }
};

TEST_F(ImplementationTest, TheListEndsWithTheReference) {
  const std::vector<ImplementationInfo> list = implementations();
  ASSERT_FALSE(list.empty());
  EXPECT_EQ(list.back().name, "reference");
  EXPECT_TRUE(list.back().supported);
  std::set<std::string_view> names;
  for (const ImplementationInfo& info : list) {
    names.insert(info.name);
    EXPECT_FALSE(info.description.empty()) << info.name;
    EXPECT_EQ(info.supported, info.reason.empty()) << info.name;
  }
  EXPECT_EQ(names.size(), list.size());
}

TEST_F(ImplementationTest, UnknownNamesListTheKnownOnes) {
  Call call;
  call.execution.implementation = "abacus";
  expect_invalid(call, {"implementation \"abacus\" is unknown", "reference"});
  const Status forced = force_implementation("slide_rule");
  EXPECT_EQ(forced.code(), StatusCode::kInvalidArgument);
  for (const ImplementationInfo& info : implementations()) {
    EXPECT_NE(forced.message().find(info.name), std::string::npos) << forced.message();
  }
}

TEST_F(ImplementationTest, WhatThisMachineCannotRunIsUnavailable) {
  for (const ImplementationInfo& info : implementations()) {
    if (info.supported) continue;
    Call call;
    call.execution.implementation = info.name;
    expect_refused(call, StatusCode::kUnavailable, {"cannot run on this machine", info.reason.c_str()});
    EXPECT_EQ(force_implementation(info.name).code(), StatusCode::kUnavailable);
  }
}

TEST_F(ImplementationTest, ForcingServesCallsWithoutAName) {
  ASSERT_TRUE(force_implementation("reference").ok());
  const Result<std::string_view> active = active_implementation();
  ASSERT_TRUE(active.ok());
  EXPECT_EQ(*active, "reference");
  Call call;
  call.execution.implementation = {};
  expect_served(call);
  EXPECT_EQ(last_implementation(), "reference");
}

TEST_F(ImplementationTest, TheNameInTheCallWins) {
  for (const ImplementationInfo& info : implementations()) {
    if (!info.supported || info.name == "reference") continue;
    ASSERT_TRUE(force_implementation(info.name).ok());
    Call call;
    expect_served(call);
    EXPECT_EQ(last_implementation(), "reference");
  }
}

TEST_F(ImplementationTest, LastBelongsToTheThread) {
  Call call;
  expect_served(call);
  std::string_view elsewhere = "not asked";
  std::thread([&] { elsewhere = last_implementation(); }).join();
  EXPECT_EQ(elsewhere, "");
  EXPECT_EQ(last_implementation(), "reference");
  call.execution.implementation = "abacus";
  EXPECT_FALSE(call.run().ok());
  EXPECT_EQ(last_implementation(), "reference") << "a refused call is not served";
}

// Key blocks of 96 run in the oracle only.
TEST_F(ImplementationTest, TheAutomaticChoiceNeverFallsBackToTheOracle) {
  Call call;
  call.execution.implementation = {};
  const Result<Recipe> recipe = parse_recipe("int8_fast,key_block=96");
  ASSERT_TRUE(recipe.ok());
  call.params.recipe = *recipe;
  const Status status = call.run();
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(status.code() == StatusCode::kUnimplemented || status.code() == StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("implementation \"reference\" runs it"), std::string::npos) << status.message();
  EXPECT_TRUE(call.untouched());
  call.execution.implementation = "reference";
  expect_served(call);
}

TEST_F(ImplementationTest, OneLinePerCallWhenAskedFor) {
  std::vector<std::string> lines;
  set_log_sink(
      [](void* to, LogLevel, std::string_view line) { static_cast<std::vector<std::string>*>(to)->emplace_back(line); },
      &lines, LogLevel::dispatch);
  Call call;
  const Status status = call.run();
  set_log_sink(nullptr, nullptr, LogLevel::off);
  EXPECT_TRUE(status.ok());
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("attention int8"), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("-> reference"), std::string::npos) << lines[0];
}

// Each in a process of its own that has not read the environment yet.
TEST(ImplementationDeathTest, TheEnvironmentForcesUntilASetterDoes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        setenv("OCTAVO_FORCE_IMPLEMENTATION", "reference", 1);
        Call call;
        call.execution.implementation = {};
        bool right = call.run().ok() && last_implementation() == "reference";
        right = right && *active_implementation() == "reference";
        right = right && force_implementation("").ok();
        const Result<std::string_view> automatic = active_implementation();
        right = right && (!automatic.ok() || *automatic != "reference");
        std::_Exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(ImplementationDeathTest, BadValuesInTheEnvironmentAreErrorsOfTheNextCall) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        setenv("OCTAVO_FORCE_IMPLEMENTATION", "abacus", 1);
        Call call;
        call.execution.implementation = {};
        const Status status = call.run();
        bool right = status.code() == StatusCode::kInvalidArgument && call.untouched();
        right = right && status.message().find("OCTAVO_FORCE_IMPLEMENTATION \"abacus\"") != std::string::npos;
        right = right && !active_implementation().ok();
        call.execution.implementation = "reference";
        right = right && call.run().ok();
        std::_Exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(
      {
        setenv("OCTAVO_NUM_THREADS", "several", 1);
        Call call;
        bool right = call.run().message().find("OCTAVO_NUM_THREADS is \"several\"") != std::string::npos;
        right = right && call.untouched();
        set_num_threads(1);
        right = right && call.run().ok();
        std::_Exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(
      {
        setenv("OCTAVO_LOG", "loud", 1);
        Call call;
        std::_Exit(call.run().message().find("OCTAVO_LOG is \"loud\"") != std::string::npos ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace octavo
