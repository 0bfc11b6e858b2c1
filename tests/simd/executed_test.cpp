// Which policies these tests run here. An instruction set that the operating system reports and that the tests would
// pass over is a failure, so that a broken detection cannot turn them into nothing.
#include <cstdio>
#include <set>

#include "expected_here.hpp"
#include "policies.hpp"

namespace octavo::cpu {
namespace {

TEST(Executed, EveryPolicyThatTheMachineSupports) {
  std::set<std::string> executed;
  for_each_policy([&](const SimdPrimitives& w) {
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
    if (!policy.supported) line += " (not here: " + std::string(policy.primitives->name) + ")";
  std::printf("%s\n", line.c_str());

  for (const std::string& name : test::expected_here()) EXPECT_TRUE(executed.count(name)) << name;
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
