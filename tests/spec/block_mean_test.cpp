// When a head takes its keys' means per block: the evidence, and that ordinary heads do not.
#include "spec/block_mean.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace octavo::spec {
namespace {

// What a head of one channel of `keys` decides, by the definition.
bool decides(const std::vector<float>& keys, float gain = 1.0f) {
  const auto count = static_cast<std::int64_t>(keys.size());
  const float mean = column_mean(keys.data(), count, 1);
  ChannelSpreads spreads;
  for (std::int64_t first = 0; first < count; first += kMeanBlock) {
    const std::int64_t rows = std::min(kMeanBlock, count - first);
    const auto [low, high] = std::minmax_element(keys.begin() + first, keys.begin() + first + rows);
    add_spreads(spreads, static_cast<float>(rows), *low, *high, mean, column_mean(keys.data() + first, rows, 1));
  }
  BlockMeanEvidence evidence;
  add_channel(evidence, spreads, gain);
  return takes_block_means(evidence);
}

std::vector<float> normal(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = draw(random);
  return x;
}

TEST(BlockMean, BlocksOfMeansHoldWholeKeyBlocks) {
  for (std::int64_t key_block : {16, 32, 64, 128}) EXPECT_TRUE(divides_mean_blocks(key_block)) << key_block;
  for (std::int64_t key_block : {48, 96, 192, 256, 4096}) EXPECT_FALSE(divides_mean_blocks(key_block)) << key_block;
}

TEST(BlockMean, AMeanThatMovesIsTaken) {
  std::vector<float> drift = normal(1024, 1);
  for (std::size_t j = 0; j < drift.size(); ++j) drift[j] += 10 * std::cos(0.002f * static_cast<float>(j));
  EXPECT_TRUE(decides(drift));
  EXPECT_TRUE(decides(drift, 0.01f));
}

TEST(BlockMean, OrdinaryKeysAreNot) {
  for (std::int64_t count : {1, 128, 129, 136, 160, 192, 256, 300, 1024, 5000}) {
    for (std::uint32_t seed = 1; seed < 20; ++seed) EXPECT_FALSE(decides(normal(count, seed))) << count;
  }
  std::vector<float> bias = normal(1024, 3);
  for (float& x : bias) x += 100;
  EXPECT_FALSE(decides(bias));
  EXPECT_FALSE(decides(std::vector<float>(500, 2.0f)));
}

TEST(BlockMean, EvidenceByHand) {
  ChannelSpreads spreads;
  add_spreads(spreads, 128, -1, 3, 0, 1);   // 3 from the mean, 2 from its own
  add_spreads(spreads, 64, -5, -3, 0, -4);  // 5, 1
  const float inf = std::numeric_limits<float>::infinity();
  add_spreads(spreads, 0, inf, -inf, 0, 0);  // nothing there
  EXPECT_EQ(spreads.from_mean, 128 * 3 + 64 * 5);
  EXPECT_EQ(spreads.from_block_mean, 128 * 2 + 64 * 1);
  BlockMeanEvidence evidence;
  add_channel(evidence, spreads, 2);
  EXPECT_EQ(evidence.from_mean, 1408.0f * 1408);
  EXPECT_EQ(evidence.from_block_mean, 640.0f * 640);
  EXPECT_TRUE(takes_block_means(evidence));
  EXPECT_FALSE(takes_block_means({1.5f, 1.0f}));
  EXPECT_TRUE(takes_block_means({1.6f, 1.0f}));
  EXPECT_FALSE(takes_block_means({inf, inf}));
  EXPECT_FALSE(takes_block_means({0, 0}));
}

}  // namespace
}  // namespace octavo::spec
