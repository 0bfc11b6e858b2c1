// Which policies these tests run here. An instruction set that the operating system reports and that the tests would
// pass over is a failure, so that a broken detection cannot turn them into nothing.
#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "policies.hpp"

namespace octavo::cpu {
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

TEST(Executed, EveryPolicyThatTheMachineSupports) {
  std::set<std::string> executed;
  for_each_policy([&](const SimdWords& w) {
    const std::vector<float> a = random_floats(kMostLanes, 1), b = random_floats(kMostLanes, 2);
    float out[kMostLanes];
    w.add(a.data(), b.data(), out);
    for (int i = 0; i < w.lanes; ++i)
      ASSERT_EQ(out[i], a[static_cast<std::size_t>(i)] + b[static_cast<std::size_t>(i)]);
    executed.insert(w.name);
  });
  std::string line = "executed:";
  for (const std::string& name : executed) line += " " + name;
  for (const Policy& policy : policies())
    if (!policy.supported) line += " (not here: " + std::string(policy.words->name) + ")";
  std::printf("%s\n", line.c_str());

  EXPECT_TRUE(executed.count("scalar"));
  const std::set<std::string> flags = flags_of_the_kernel();
  const auto has = [&](std::initializer_list<const char*> needed) {
    return !flags.empty() &&
           std::all_of(needed.begin(), needed.end(), [&](const char* f) { return flags.count(f) > 0; });
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

// What needs no consent has it; tiles are not to be had where there are none.
TEST(Features, ClaimedWhereTheyAre) {
  EXPECT_TRUE(claim_features(0));
  EXPECT_TRUE(claim_features(features() & ~kAmxInt8));
  if ((features() & kAmxInt8) == 0) {
    EXPECT_FALSE(claim_features(kAmxInt8));
  }
}

}  // namespace
}  // namespace octavo::cpu
