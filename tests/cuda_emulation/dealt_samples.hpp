// Samples dealt from a seed, and the comparison of an emulated kernel's results with the oracle's.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "compare.hpp"
#include "sample.hpp"

namespace octavo::test {

struct Results {
  std::vector<float> out, lse, expected_out, expected_lse;
};

// Products of f32 in three planes.
constexpr double kExactF32Gate = 1e-5;

inline double bound_of(const Sample& sample, std::size_t elements) {
  const Recipe recipe = *parse_recipe(sample.recipe);
  // P is the inputs' own dtype on tensor cores; the oracle keeps all its digits.
  if (recipe.p == WeightFormat::input && sample.dtype == DType::bf16) return kExactBf16Gate;
  if (recipe.p == WeightFormat::input && sample.dtype == DType::f32) return kExactF32Gate;
  return output_bound(recipe, 0, static_cast<std::int64_t>(elements));
}

inline void compare(const Sample& sample, const Results& results) {
  const Recipe recipe = *parse_recipe(sample.recipe);
  Difference difference;
  difference.add(results.out, results.expected_out);
  EXPECT_EQ(difference.wrong, "") << describe(sample);
  EXPECT_LE(difference.relative(), bound_of(sample, results.out.size())) << describe(sample);
  EXPECT_EQ(check_lse(recipe, results.lse, results.expected_lse), "") << describe(sample);
}

// Sizes and options, dealt from a seed.
class Dealer {
 public:
  explicit Dealer(std::uint32_t seed) : random_(seed) {}

  Sample draw(const std::string& recipe, DType dtype, int index) {
    Sample s;
    s.recipe = recipe, s.dtype = dtype, s.seed = random_() % 10000;
    constexpr std::int64_t kRows[] = {1, 15, 16, 17, 63, 65, 127, 128, 129, 200};
    constexpr std::int64_t kKeys[] = {1, 63, 64, 65, 127, 128, 129, 255, 257, 300};
    constexpr std::int64_t kDims[] = {64, 128, 33, 80, 96, 64, 128, 17};
    s.m = kRows[(index * 3 + of(10)) % 10], s.n = kKeys[(index * 7 + of(10)) % 10];
    s.d = kDims[index % 8], s.dv = of(3) == 0 ? kDims[of(8)] : s.d;
    s.kv_heads = 1 + of(2), s.ratio = 1 + of(3) / 2;
    s.batch = 1 + of(3) / 2;
    s.causal = static_cast<Causal>(of(3));
    if (of(4) == 0) s.window_left = of(150);
    if (of(4) == 0) s.window_right = of(150);
    if (of(4) == 0) s.softcap = 3 + of(20);
    if (of(3) == 0) s.mask = static_cast<SampleMask>(1 + of(7));
    s.alibi = of(4) == 0, s.sinks = of(4) == 0, s.wide_integers = of(2) == 0;
    s.symmetric_alibi = index % 2 == 0;
    s.key_bias = of(3) == 0, s.huge_sink_key = of(4) == 0;
    if (of(4) == 0) {
      for (std::int64_t b = 0; b < s.batch; ++b) s.kv_lens.push_back(of(static_cast<int>(s.n) + 1));
    } else if (of(4) == 0) {
      s.mask = SampleMask::none;
      s.q_lens = {s.m, 0, 1 + of(40), 9};
      s.k_lens = {s.n, of(30), 1 + of(140), 33};
    }
    return s;
  }

 private:
  int of(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  std::mt19937 random_;
};

struct Entry {
  const char* recipe;
  DType dtype;
};
inline std::ostream& operator<<(std::ostream& out, const Entry& entry) {
  return out << entry.recipe << " " << to_string(entry.dtype);
}

}  // namespace octavo::test
