// Which implementations run here, and that each gives the oracle's answer to one small call. An instruction set that
// the operating system reports and that is passed over is a failure, so that a broken detection cannot turn every
// other test here into nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "compare.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

// Flags of the first processor in /proc/cpuinfo: what the kernel says, not what this library detects. Empty elsewhere.
std::set<std::string> flags_of_the_kernel() {
  std::ifstream file("/proc/cpuinfo");
  std::set<std::string> flags;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) flags.insert(word);
    break;
  }
  return flags;
}

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
  EXPECT_TRUE(executed.count("scalar"));
  const std::set<std::string> flags = flags_of_the_kernel();
  const auto has = [&](std::initializer_list<const char*> needed) {
    return !flags.empty() &&
           std::all_of(needed.begin(), needed.end(), [&](const char* flag) { return flags.count(flag) > 0; });
  };
  const bool avx2 = has({"avx2", "fma", "f16c"});
  const bool avx512 = avx2 && has({"avx512f", "avx512bw", "avx512dq", "avx512vl"});
  if (avx2) {
    EXPECT_TRUE(executed.count("avx2"));
  }
  const bool vnni = avx512 && has({"avx512_vnni"});
  if (avx2 && has({"avx_vnni"})) {
    EXPECT_TRUE(executed.count("avx2_vnni"));
  }
  if (avx512) {
    EXPECT_TRUE(executed.count("avx512"));
  }
  if (vnni) {
    EXPECT_TRUE(executed.count("avx512_vnni"));
  }
  if (vnni && has({"avx512_bf16"})) {
    EXPECT_TRUE(executed.count("avx512_vnni_bf16"));
  }
  if (vnni && has({"avx512_bf16", "amx_tile", "amx_int8"})) {
    EXPECT_TRUE(executed.count("amx_int8"));
  }
}

}  // namespace
}  // namespace octavo::test
