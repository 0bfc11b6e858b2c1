// Which implementations run here, and that each gives the oracle's answer to one small call. An instruction set that
// the operating system reports and that is passed over is a failure, so that a broken detection cannot turn every
// other test here into nothing.
#include <gtest/gtest.h>

#include <cstdio>
#include <set>

#include "compare.hpp"
#include "expected_here.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

TEST(Executed, EveryImplementationThatTheMachineSupports) {
  Scenario scenario;
  scenario.m = 40;
  scenario.n = 200;
  scenario.d = scenario.dv = 64;
  scenario.kv_heads = 2;
  const Call call(scenario);
  const Outcome oracle = call.run("reference");
  ASSERT_TRUE(oracle.status.ok()) << oracle.status.message();

  std::set<std::string> executed;
  std::string line = "executed:", absent;
  for (const ImplementationInfo& info : implementations()) {
    const std::string name(info.name);
    const Outcome got = call.run(name);
    if (!info.supported) {
      EXPECT_EQ(got.status.code(), StatusCode::kUnavailable) << name;
      EXPECT_NE(info.reason, "") << name;
      absent += "\nnot executed: " + name + ", " + info.reason;
      continue;
    }
    ASSERT_TRUE(got.status.ok()) << name << ": " << got.status.message();
    EXPECT_EQ(last_implementation(), name);
    EXPECT_LE(relative_l2(got.out, oracle.out), 1e-3) << name;
    executed.insert(name);
    line += " " + name;
  }
  std::printf("%s%s\n", line.c_str(), absent.c_str());

  EXPECT_TRUE(executed.count("reference"));
  for (const std::string& name : expected_here()) EXPECT_TRUE(executed.count(name)) << name;
}

}  // namespace
}  // namespace octavo::test
