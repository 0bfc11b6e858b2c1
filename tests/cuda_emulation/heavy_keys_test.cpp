// Which keys of a query block the emulated kernel takes for heavy: those that sorting takes.
#include "cuda/attention/heavy_keys.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cuda_emulation/machine.hpp"

namespace octavo::test {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Biases of one query block and what the kernel makes of them.
struct HeavyCase {
  std::int64_t keys = 0;
  int heavy = 0, first = 0;
  std::vector<float> bias, fold;

  cuda::HeavyKeysParams params(std::vector<float>& out, std::vector<std::int32_t>& list) const {
    cuda::HeavyKeysParams p;
    p.queries = {1, 1, 128, {}, {}, cuda::grid_of_batch(1, 128)};
    p.keys = {1, 1, keys, {}, {}, cuda::grid_of_batch(1, keys)};
    p.kept.first = first, p.kept.heavy = heavy, p.kept.smooth_q = true;
    p.kept.heavy_keys = list.data();
    p.chunk = {0, 1, 0, 1, 0, 1};
    p.bias.keys = static_cast<std::int64_t>(bias.size());
    p.bias.addend = out.data();
    if (!fold.empty()) p.fold = fold.data();
    return p;
  }
};

std::vector<std::int32_t> sorted_heavy(const HeavyCase& of, const cuda::HeavyKeysParams& p) {
  const spec::PositionMask mask{p.causal, -1, -1, 128, of.keys};
  const spec::KeptKeys kept = cuda::kept_keys_of(p.kept, mask);
  const spec::KeyRange range = spec::heavy_candidates(kept, mask, 0, 128);
  std::vector<std::pair<float, std::int32_t>> weighed;
  for (std::int64_t key = range.begin; key < range.end; ++key) {
    const auto at = static_cast<std::size_t>(key);
    const float weight = of.bias[at] + (of.fold.empty() ? 0.0f : of.fold[at]);
    if (weight > kNever) weighed.emplace_back(-weight, static_cast<std::int32_t>(key));
  }
  std::sort(weighed.begin(), weighed.end());
  std::vector<std::int32_t> list;
  for (std::size_t i = 0; i < weighed.size() && static_cast<std::int64_t>(i) < kept.heavy; ++i) {
    list.push_back(weighed[i].second);
  }
  std::sort(list.begin(), list.end());
  return list;
}

// How many there are.
std::size_t check(const HeavyCase& of) {
  std::vector<float> after = of.bias;
  std::vector<std::int32_t> list(cuda::kHeavyList, -2);
  const cuda::HeavyKeysParams p = of.params(after, list);
  cuda::emulation::launch(cuda::emulation::Grid{{1, 1, 1}, 1}, {},
                          [&](cuda::emulation::Emulated& machine) { cuda::find_heavy_keys(machine, p); });
  EXPECT_EQ(std::count(list.begin(), list.end(), -2), 0);
  std::vector<std::int32_t> found;
  std::copy_if(list.begin(), list.end(), std::back_inserter(found), [](std::int32_t key) { return key >= 0; });
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, sorted_heavy(of, p)) << of.keys << " keys, " << of.heavy << " heavy";
  for (std::int32_t key : found) EXPECT_EQ(after[static_cast<std::size_t>(key)], kNever);
  return found.size();
}

TEST(HeavyKeys, AreTheHeaviest) {
  std::mt19937 random(20261130);
  std::normal_distribution<float> normal;
  for (const std::int64_t keys : {1, 31, 33, 129, 255, 256, 257, 1000, 2500}) {
    for (const int heavy : {1, 5, 16, 32}) {
      HeavyCase of{keys, heavy, heavy % 3, {}, {}};
      const auto size = static_cast<std::size_t>(cuda::packed_blocks(keys) * cuda::kPackedRows);
      of.bias.assign(size, kNever);
      std::generate_n(of.bias.begin(), keys, [&] { return normal(random); });
      const std::size_t found = check(of);
      EXPECT_TRUE(keys < 1000 || found > 0);
      of.fold.resize(size);
      std::generate(of.fold.begin(), of.fold.end(), [&] { return normal(random); });
      check(of);
    }
  }
}

TEST(HeavyKeys, OfEqualWeightsTheLowerKeys) {
  for (const std::int64_t keys : {40, 700}) {
    HeavyCase of{keys, 16, 1, std::vector<float>(1024, 0.25f), {}};
    check(of);
    for (std::int64_t key = 0; key < keys; ++key) of.bias[static_cast<std::size_t>(key)] = static_cast<float>(key / 9);
    check(of);
  }
}

TEST(HeavyKeys, KeysThatAreNoneAreNotTaken) {
  HeavyCase of{900, 32, 2, std::vector<float>(1024, kNever), {}};
  check(of);
  for (std::size_t key = 0; key < 900; key += 50) of.bias[key] = static_cast<float>(key);
  of.bias[100] = of.bias[850] = std::nanf("");
  of.bias[300] = std::numeric_limits<float>::infinity();
  check(of);
}

}  // namespace
}  // namespace octavo::test
