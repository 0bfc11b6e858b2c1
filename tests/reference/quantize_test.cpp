// Codes and scales that leave the library, and attention that takes them back.
#include <gtest/gtest.h>

#include "cases.hpp"
#include "core/float_types.hpp"
#include "reference/quantize_steps.hpp"
#include "spec/operand.hpp"

namespace octavo::reference {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Matrix matrix(const std::vector<float>& data, std::int64_t cols) {
  Matrix result(static_cast<std::int64_t>(data.size()) / cols, cols);
  result.data = data;
  return result;
}

TEST(QuantizeSteps, TokenScalesByHand) {
  const Recipe recipe = *parse_recipe("int_flash");
  const QuantizedRows q = quantize_q(matrix({1, -2, 0.5f, 0.25f, 0, 0, 0, 0, 254, -127, 3, -1}, 4), recipe);
  EXPECT_EQ(q.scales.values, (std::vector<float>{2.0f / 127, 1, 2}));
  // 63.5 to even 64; 31.75 to 32; 15.875 to 16; -63.5 to even -64; 1.5 to 2; -0.5 to even 0.
  EXPECT_EQ(q.codes.data, (std::vector<float>{64, -127, 32, 16, 0, 0, 0, 0, 127, -64, 2, 0}));
}

TEST(QuantizeSteps, EdgesOfATokensScale) {
  const Recipe recipe = *parse_recipe("int8_fast,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off");
  const float tiny = std::numeric_limits<float>::denorm_min();
  const QuantizedRows q = quantize_q(matrix({kNan, 3, INFINITY, 1, tiny, 0}, 2), recipe);
  EXPECT_TRUE(std::isnan(q.scales.values[0]));
  EXPECT_TRUE(std::isnan(q.scales.values[1]));
  EXPECT_EQ(q.scales.values[2], std::numeric_limits<float>::min());
  EXPECT_EQ(q.codes.data, (std::vector<float>{0, 127, 0, 127, 0, 0}));
  EXPECT_EQ(q.finite, (std::vector<bool>{false, false, true}));
  const QuantizedRows v = quantize_v(matrix({0, 0, 4, 2}, 2), recipe);
  EXPECT_EQ(v.scales.values, (std::vector<float>{0, 4.0f / 127}));
}

TEST(QuantizeSteps, SharedScales) {
  std::vector<float> rows(130 * 2, 1.0f);
  rows[2 * 129] = 5;
  Recipe recipe = *parse_recipe("sage1,smooth_k=off");
  EXPECT_EQ(quantize_q(matrix(rows, 2), recipe).scales.values, (std::vector<float>{1.0f / 127, 5.0f / 127}));
  EXPECT_EQ(quantize_k(matrix(rows, 2), recipe).scales.values,
            (std::vector<float>{1.0f / 127, 1.0f / 127, 5.0f / 127}));
  rows[0] = kNan;
  recipe = *parse_recipe("int_flash_block_v");
  const std::vector<float> scales = quantize_v(matrix(rows, 2), recipe).scales.values;
  ASSERT_EQ(scales.size(), 4u);
  EXPECT_TRUE(std::isnan(scales[0]));
  EXPECT_EQ(scales[1], 1.0f / 127);
  EXPECT_EQ(scales[2], 5.0f / 127);
  EXPECT_EQ(scales[3], 1.0f / 127);
}

TEST(QuantizeSteps, MeansOfQueryBlocks) {
  Recipe recipe = *parse_recipe("sage2_4b");
  Matrix x(130, 1);
  for (std::int64_t row = 0; row < 130; ++row) x.at(row, 0) = row < 128 ? static_cast<float>(row % 2) : 6.0f;
  const QuantizedRows q = quantize_q(x, recipe);
  EXPECT_EQ(q.means.data, (std::vector<float>{0.5f, 6.0f}));
  EXPECT_EQ(q.codes.at(0, 0), -7);
  EXPECT_EQ(q.codes.at(1, 0), 7);
  EXPECT_EQ(q.codes.at(129, 0), 0);  // the short last block: its own mean
}

TEST(QuantizeSteps, WideQueriesAreAlmostExact) {
  Case c(8, 1, 64);
  const QuantizedRows q = quantize_q(matrix(c.q, 64), *parse_recipe("int8"), true);
  EXPECT_TRUE(q.means.empty());
  for (std::int64_t row = 0; row < 8; ++row) {
    for (std::int64_t d = 0; d < 64; ++d) {
      EXPECT_NEAR(q.codes.at(row, d) * q.scales.at(row, d), q.floats.at(row, d), 6e-5);
    }
  }
}

// What quantize() writes for a tensor of one case, and an Operand that hands it back.
struct Written {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales, means;
  Operand operand;

  Written(const float* data, std::int64_t heads, std::int64_t rows, std::int64_t dim, Role role, const Recipe& recipe,
          DType dtype) {
    const std::int64_t scale_count = spec::scales_per_head(spec::groups_of(role, recipe), rows, dim);
    const bool smooth = role == Role::q ? recipe.smooth_q : role == Role::k ? recipe.smooth_k : recipe.smooth_v;
    const std::int64_t mean_count = !smooth ? 0 : role == Role::q ? (rows + 127) / 128 * dim : dim;
    const std::int64_t row_elements = dtype == DType::s4 ? (dim + 1) / 2 * 2 : dim;
    codes.assign(static_cast<std::size_t>(heads * rows * row_elements / (dtype == DType::s4 ? 2 : 1)), 0);
    scales.assign(static_cast<std::size_t>(heads * scale_count), -1.0f);
    means.assign(static_cast<std::size_t>(heads * mean_count), -1.0f);
    operand.data = codes.data();
    operand.dtype = dtype;
    operand.strides = {heads * rows * row_elements, rows * row_elements, row_elements, 1};
    QuantizeProblem problem;
    problem.batch = 1;
    problem.heads = heads;
    problem.rows = rows;
    problem.dim = dim;
    problem.x = Case::operand(data, heads, rows, dim);
    problem.codes = operand;
    problem.scales = scales.empty() ? nullptr : scales.data();
    problem.scales_per_head = scale_count;
    problem.means_per_head = mean_count;
    problem.mean = means.empty() ? nullptr : means.data();
    problem.role = role;
    problem.recipe = recipe;
    quantize(problem);
    operand.quantized = true;
    operand.scales = problem.scales;
    operand.scales_per_head = scale_count;
    operand.mean = problem.mean;
    operand.means_per_head = mean_count;
  }
};

DType code_type(Format format) {
  return format == Format::s8     ? DType::s8
         : format == Format::s4   ? DType::s4
         : format == Format::e4m3 ? DType::e4m3
                                  : DType::e5m2;
}

TEST(Quantize, AttentionOnItsCodesIsAttentionOnTheFloats) {
  for (const RecipeInfo& info : recipes()) {
    // Codes have no originals: nothing is kept, gains are 1.
    const Recipe recipe = spec::recipe_of_codes(info.recipe);
    if (recipe.scores == Format::input) continue;
    Case c(140, 150, 33, 17, 5, 1, 4, 2);
    const std::vector<double> truth = as_double(c.run(to_string(recipe)));
    const std::vector<float> lse = c.lse;
    const Written q(c.q.data(), 4, 140, 33, Role::q, recipe, code_type(recipe.scores));
    const Written k(c.k.data(), 2, 150, 33, Role::k, recipe, code_type(recipe.scores));
    c.problem.q = q.operand;
    c.problem.k = k.operand;
    std::vector<Written> v;
    if (recipe.values != Format::f16) {
      v.emplace_back(c.v.data(), 2, 150, 17, Role::v, recipe, code_type(recipe.values));
      c.problem.v = v.back().operand;
      c.problem.v.data = v.back().codes.data();
    }
    // Delta_S comes from dequantized keys where only codes exist; everything else is the same.
    const double allowed = recipe.smooth_q ? (recipe.scores == Format::s4 ? 0.1 : 0.006) : 1e-7;
    EXPECT_LE(relative_l2(c.run(info.name), truth), allowed) << info.name;
    for (std::size_t i = 0; i < lse.size(); ++i) {
      ASSERT_NEAR(c.lse[i], lse[i], recipe.scores == Format::s4 ? 0.5 : 0.03) << info.name;
    }
  }
}

TEST(Quantize, FewRowsOfQGet8BitCodesAndTheirMean) {
  Case c(3, 1, 16);
  const Recipe recipe = *parse_recipe("int8");
  const Written q(c.q.data(), 1, 3, 16, Role::q, recipe, DType::s8);
  std::vector<float> expected = quantize_q(matrix(c.q, 16), recipe).codes.data;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(static_cast<std::int8_t>(q.codes[i]), static_cast<std::int8_t>(expected[i]));
  }
  EXPECT_NE(q.means[0], -1.0f);
}

TEST(Quantize, NibblesLowFirst) {
  const std::vector<float> row = {7, -7, 3, -1, 2};
  const Recipe recipe = *parse_recipe("int_flash_int4");
  const Written k(row.data(), 1, 1, 5, Role::k, recipe, DType::s4);
  EXPECT_EQ(k.codes, (std::vector<std::uint8_t>{0x97, 0xf3, 0x02}));
}

}  // namespace
}  // namespace octavo::reference
