#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "emulated_attention.hpp"
#include "reference/reference.hpp"

namespace octavo::test {
namespace {

TEST(First, Int8) {
  const std::int64_t m = 200, n = 300, d = 128;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> q(m * d), k(n * d), v(n * d), out(m * d), expected(m * d), lse(m), lse2(m);
  for (auto* x : {&q, &k, &v})
    for (float& y : *x) y = normal(random);
  Problem p;
  p.batch = p.q_heads = p.kv_heads = 1;
  p.q_rows = m, p.k_rows = n, p.head_dim = p.value_dim = d;
  p.q = {q.data(), DType::f32, {0, 0, d, 1}};
  p.k = {k.data(), DType::f32, {0, 0, d, 1}};
  p.v = {v.data(), DType::f32, {0, 0, d, 1}};
  p.out = {expected.data(), DType::f32, {0, 0, d, 1}};
  p.lse = lse2.data();
  p.lse_strides = {0, 0, 1};
  p.softmax_scale = 1 / std::sqrt(128.0);
  reference::attention(p);
  p.out.data = out.data();
  p.lse = lse.data();
  const PackedProblem packed(p);
  ASSERT_TRUE(run_emulated(packed));
  double squares = 0, norm = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    squares += std::pow(out[i] - expected[i], 2.0);
    norm += std::pow(expected[i], 2.0);
  }
  EXPECT_LT(std::sqrt(squares / norm), 1e-3);
  std::printf("%g\n", std::sqrt(squares / norm));
  for (int i = 0; i < m; ++i) EXPECT_NEAR(lse[i], lse2[i], 2e-3);
}

}  // namespace
}  // namespace octavo::test
