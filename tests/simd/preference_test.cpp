// Which implementation a processor prefers: on Intel not the one with VDPBF16PS, which is slower there than FMA.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cpu/features.hpp"
#include "cpu/implementation.hpp"

namespace octavo::cpu {
namespace {

std::vector<std::string> order(std::vector<const Implementation*> list, std::uint32_t slow) {
  sort_by_preference(list, slow);
  std::vector<std::string> names;
  for (const Implementation* each : list) names.emplace_back(each->name);
  return names;
}

TEST(PreferenceTest, OnlyIntelsBf16IsSlow) {
  constexpr std::uint32_t kAll = kAvx2 | kAvxVnni | kAvx512 | kAvx512Vnni | kAvx512Bf16 | kAmxInt8;
  EXPECT_EQ(slow_features(kAll, "GenuineIntel"), kAvx512Bf16);
  EXPECT_EQ(slow_features(kAll & ~kAvx512Bf16, "GenuineIntel"), 0u);
  EXPECT_EQ(slow_features(kAll, "AuthenticAMD"), 0u);
  EXPECT_EQ(slow_features() & ~features(), 0u);
}

TEST(PreferenceTest, IntelDoesNotInterleaveSoftmax) {
  EXPECT_FALSE(interleaves_softmax("GenuineIntel"));
  EXPECT_TRUE(interleaves_softmax("AuthenticAMD"));
}

TEST(PreferenceTest, SlowOnesStandBehindThoseWithTheSameIntegerProducts) {
  const Implementation bf16{{"bf16", "", nullptr}, kAvx512 | kAvx512Vnni | kAvx512Bf16, nullptr};
  const Implementation amx{{"amx", "", nullptr}, kAvx512 | kAvx512Vnni | kAvx512Bf16 | kAmxInt8, nullptr};
  const Implementation vnni{{"vnni", "", nullptr}, kAvx512 | kAvx512Vnni, nullptr};
  const Implementation avx512{{"avx512", "", nullptr}, kAvx512, nullptr};
  const Implementation scalar{{"scalar", "", nullptr}, 0, nullptr};
  const std::vector<const Implementation*> list{&bf16, &amx, &vnni, &avx512, &scalar};
  EXPECT_EQ(order(list, 0), (std::vector<std::string>{"bf16", "amx", "vnni", "avx512", "scalar"}));
  EXPECT_EQ(order(list, kAvx512Bf16), (std::vector<std::string>{"vnni", "bf16", "amx", "avx512", "scalar"}));
  EXPECT_EQ(order({&bf16, &avx512, &scalar}, kAvx512Bf16), (std::vector<std::string>{"bf16", "avx512", "scalar"}));
}

// The list of this build is in the order that this processor prefers.
TEST(PreferenceTest, TheListIsSorted) {
  std::vector<const Implementation*> list(implementations().begin(), implementations().end());
  const std::vector<std::string> as_listed = order(list, 0);
  EXPECT_EQ(order(list, slow_features()), as_listed);
}

}  // namespace
}  // namespace octavo::cpu
