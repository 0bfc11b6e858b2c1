// Where a NaN or an infinity may go: into the rows that see it, never into a finite wrong number, and nowhere from
// outside a sequence.
#include <gtest/gtest.h>

#include <algorithm>

#include "cases.hpp"

namespace octavo::reference {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool row_is_nan(const Case& c, std::int64_t row) {
  return std::all_of(c.out.begin() + row * c.dv, c.out.begin() + (row + 1) * c.dv,
                     [](float x) { return std::isnan(x); });
}
bool row_is_finite(const Case& c, std::int64_t row) {
  return std::all_of(c.out.begin() + row * c.dv, c.out.begin() + (row + 1) * c.dv,
                     [](float x) { return std::isfinite(x); });
}

struct NonFinite : testing::TestWithParam<std::tuple<const char*, float>> {
  const char* recipe = std::get<0>(GetParam());
  float poison = std::get<1>(GetParam());
  Case c{40, 40, 32, 16, 3};
  NonFinite() { c.problem.causal = Causal::bottom_right; }
};

TEST_P(NonFinite, InAQueryStaysInItsRow) {
  c.q_row(7)[3] = poison;
  c.run(recipe);
  for (std::int64_t row = 0; row < c.m; ++row) ASSERT_EQ(row_is_nan(c, row), row == 7) << row;
  EXPECT_TRUE(std::isnan(c.lse[7]));
}

TEST_P(NonFinite, InAKeyReachesTheRowsThatSeeIt) {
  c.k_row(20)[5] = poison;
  c.run(recipe);
  for (std::int64_t row = 0; row < c.m; ++row) {
    ASSERT_EQ(row_is_nan(c, row), row >= 20) << row;
    ASSERT_EQ(row_is_finite(c, row), row < 20) << row;
  }
}

TEST_P(NonFinite, InAValueIsNeverFiniteAndWrong) {
  c.run(recipe);
  const std::vector<float> clean = c.out;
  c.v_row(20)[5] = poison;
  c.run(recipe);
  for (std::int64_t row = 20; row < c.m; ++row) {
    ASSERT_FALSE(std::isfinite(c.out[static_cast<std::size_t>(row * c.dv + 5)])) << row;
  }
  for (std::int64_t row = 0; row < 20; ++row) {
    for (std::int64_t d = 0; d < c.dv; ++d) {
      const float x = c.out[static_cast<std::size_t>(row * c.dv + d)];
      ASSERT_TRUE(std::isnan(x) || std::fabs(x - clean[static_cast<std::size_t>(row * c.dv + d)]) < 0.1f) << row;
    }
  }
}

TEST_P(NonFinite, OutsideTheSequenceChangesNothing) {
  const std::int64_t length = 25;
  c.problem.kv_lens = {&length, DType::s64, 1};
  c.run(recipe);
  const std::vector<float> clean = c.out;
  for (std::int64_t j = length; j < c.n; ++j) {
    std::fill_n(c.k_row(j), c.d, poison);
    std::fill_n(c.v_row(j), c.dv, poison);
  }
  c.run(recipe);
  EXPECT_TRUE(std::equal(clean.begin(), clean.end(), c.out.begin()));
}

INSTANTIATE_TEST_SUITE_P(Recipes, NonFinite,
                         testing::Combine(testing::Values("exact", "int8", "int8_p16", "int4", "int_flash_half"),
                                          testing::Values(kNan, kInfinity, -kInfinity)),
                         [](const auto& tested) {
                           const float poison = std::get<1>(tested.param);
                           return std::string(std::get<0>(tested.param)) + (std::isnan(poison) ? "_nan"
                                                                            : poison > 0       ? "_plus"
                                                                                               : "_minus");
                         });

TEST(NonFiniteCall, HugeScoresStayFinite) {
  for (const char* recipe : {"exact", "int8", "int_flash", "int_flash_half", "sage1", "sage2_8b"}) {
    Case c(64, 400, 16);
    for (float& x : c.k) x *= 1e30f;
    c.run(recipe);
    for (std::int64_t row = 0; row < c.m; ++row) {
      ASSERT_TRUE(row_is_finite(c, row)) << recipe << " row " << row;
      ASSERT_TRUE(std::isfinite(c.lse[static_cast<std::size_t>(row)])) << recipe << " row " << row;
    }
  }
}

TEST(NonFiniteCall, MaskValues) {
  Case c(4, 30, 16);
  std::vector<float> mask(static_cast<std::size_t>(c.m * c.n), 0.0f);
  mask[0 * 30 + 3] = kNan;
  mask[1 * 30 + 3] = kInfinity;
  mask[2 * 30 + 3] = -kInfinity;
  c.problem.mask = shared_mask(mask.data(), DType::f32, c.n);
  for (const char* recipe : {"exact", "int8"}) {
    c.run(recipe);
    EXPECT_TRUE(row_is_nan(c, 0));
    EXPECT_TRUE(row_is_nan(c, 1));
    EXPECT_TRUE(row_is_finite(c, 2));
    EXPECT_TRUE(row_is_finite(c, 3));
  }
}

TEST(NonFiniteCall, AQueryThatSeesNothingIsZeroThoughItIsNan) {
  Case c(30, 10, 16);
  c.problem.causal = Causal::bottom_right;
  c.q_row(3)[0] = kNan;
  c.run("int8");
  for (std::int64_t d = 0; d < c.dv; ++d) EXPECT_EQ(c.out[static_cast<std::size_t>(3 * c.dv + d)], 0.0f);
  EXPECT_EQ(c.lse[3], -kInfinity);
}

TEST(NonFiniteCall, SharedScalesMaySpreadButNeverLie) {
  for (const char* recipe : {"int8_block", "sage1", "sage1_int8", "sage2_8b", "fa3_fp8", "fp8_e4m3", "fp8_e5m2"}) {
    Case c(40, 200, 32);
    const std::vector<double> clean = as_double(c.run(recipe));
    c.k_row(100)[0] = kInfinity;
    c.run(recipe);
    for (float x : c.out) EXPECT_TRUE(std::isnan(x)) << recipe;
  }
}

}  // namespace
}  // namespace octavo::reference
