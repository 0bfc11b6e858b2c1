// Codes of P that are zero, of a problem whose scores are known.
#include <gtest/gtest.h>

#include <cmath>

#include "common/elements.hpp"
#include "common/random_tensor.hpp"
#include "study/measure.hpp"

namespace octavo::study {
namespace {

// One query, 256 keys with the scores 0 (key 0), -5 (keys 1 to 199) and -6 (the rest); V has 16 channels of
// `value(key)`.
template <class Value>
Problem problem_of(Value value) {
  const io::Tensor q = tool::touched_tensor("q", DType::f32, {1, 1, 16});
  const io::Tensor k = tool::touched_tensor("k", DType::f32, {1, 256, 16});
  const io::Tensor v = tool::touched_tensor("v", DType::f32, {1, 256, 16});
  tool::store(q.view(), 0, 4);  // 1 / scale
  for (std::int64_t n = 0; n < 256; ++n) {
    tool::store(k.view(), n * 16, n == 0 ? 0.0f : n < 200 ? -5.0f : -6.0f);
    for (std::int64_t d = 0; d < 16; ++d) tool::store(v.view(), n * 16 + d, static_cast<float>(value(n)));
  }
  return {"known", q, k, v, false};
}

TEST(ZeroCodes, RunningAndBlockMaximum) {
  std::vector<Problem> problems{problem_of([](std::int64_t) { return 1.0; })};
  // s8: weights below exp(-5.54) are zero. Relative to the running maximum the 56 keys at -6 are.
  const ZeroCodes running = zero_codes(problems, composed("int_flash"));
  EXPECT_NEAR(running.share, 56.0 / 256, 1e-12);
  const double total = 1 + 199 * std::exp(-5.0) + 56 * std::exp(-6.0);
  EXPECT_NEAR(running.mass, 56 * std::exp(-6.0) / total, 1e-6);
  // In the second block of 128 the maximum is -5.
  EXPECT_EQ(zero_codes(problems, composed("int_flash", "p_reference=block")).share, 0);
  EXPECT_EQ(zero_codes(problems, composed("int_flash_half")).share, 0);
}

TEST(ZeroCodes, TheFoldCountsContributions) {
  // Key 0 has a tiny value: folded, its code is small and the others keep theirs.
  std::vector<Problem> problems{problem_of([](std::int64_t n) { return n == 0 ? 1e-6 : 1.0; })};
  const double folded = zero_codes(problems, composed("int8_fast", "p_reference=running")).share;
  EXPECT_NEAR(folded, 1.0 / 256, 1e-12);
}

}  // namespace
}  // namespace octavo::study
