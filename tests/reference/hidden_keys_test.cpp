// Keys that do not exist (key_mask), or that a robust recipe's rows cannot see, reach nothing; stray rows cost the
// others little. Smallest inputs of reports from the field.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "cases.hpp"

namespace octavo::reference {
namespace {

constexpr float kJunk[] = {
    1.0f, 100.0f, 1e4f, 1e20f, 3e38f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};
constexpr const char* kOurs[] = {"int8", "int8_fast", "int8_p16", "int4", "int8_block"};

void fill_rows(float* rows, std::int64_t count, std::int64_t dim, float value) {
  std::fill(rows, rows + count * dim, value);
}

TEST(HiddenKeys, KeyMaskReachesNothing) {
  for (const RecipeInfo& preset : recipes()) {
    Case c(40, 40, 32, 24, 2);
    std::vector<unsigned char> exists(40, 1);
    std::fill(exists.begin() + 30, exists.end(), 0);
    c.problem.key_mask = {exists.data(), DType::boolean, {0, 0, 0, 1}};
    const std::vector<float> expected = c.run(preset.name);
    for (float junk : kJunk) {
      fill_rows(c.k_row(30), 10, 32, junk);
      fill_rows(c.v_row(30), 10, 24, junk);
      EXPECT_EQ(c.run(preset.name), expected) << preset.name << " " << junk;
    }
  }
}

TEST(HiddenKeys, KeyMaskIsAShorterSequence) {
  for (std::size_t i = 1; i < std::size(kOurs); ++i) {  // without kept keys, which go by positions
    Case whole(40, 40, 32, 24, 2), cut(40, 30, 32, 24, 2);
    cut.q = whole.q;
    std::copy_n(whole.k.begin(), 30 * 32, cut.k.begin());
    std::copy_n(whole.v.begin(), 30 * 24, cut.v.begin());
    std::vector<unsigned char> exists(40, 1);
    std::fill(exists.begin() + 30, exists.end(), 0);
    whole.problem.key_mask = {exists.data(), DType::boolean, {0, 0, 0, 1}};
    EXPECT_LE(relative_l2(whole.run(kOurs[i]), as_double(cut.run(kOurs[i]))), 1e-6) << kOurs[i];
  }
}

TEST(HiddenKeys, MaskHiddenKeysReachNothingInRobustRecipes) {
  for (const char* recipe : kOurs) {
    Case c(40, 40, 32, 24, 2);
    std::vector<unsigned char> mask(40 * 40, 1);
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = i % 40 < 30;
    c.problem.mask = shared_mask(mask.data(), DType::boolean, 40);
    const std::vector<float> expected = c.run(recipe);
    for (float junk : kJunk) {
      fill_rows(c.k_row(30), 10, 32, junk);
      fill_rows(c.v_row(30), 10, 24, junk);
      EXPECT_EQ(c.run(recipe), expected) << recipe << " " << junk;
    }
  }
}

// Errors of the first `rows` rows against exact attention, before and after one operand's last rows are spoilt.
void expect_little_cost(const char* recipe, bool causal, std::int64_t spoilt, const char* which, float value) {
  Case c(100, 100, 64, 64, 8);
  c.problem.causal = causal ? Causal::bottom_right : Causal::none;
  const auto kept = static_cast<std::size_t>((100 - spoilt) * 64);
  const auto error = [&] {
    std::vector<float> exact = c.run("exact"), out = c.run(recipe);
    exact.resize(kept), out.resize(kept);
    return relative_l2(out, as_double(exact));
  };
  const double before = error();
  float* rows = *which == 'q' ? c.q_row(100 - spoilt) : *which == 'k' ? c.k_row(100 - spoilt) : c.v_row(100 - spoilt);
  fill_rows(rows, spoilt, 64, value);
  EXPECT_LE(error(), 1.5 * before) << recipe << " " << which << " " << value;
}

TEST(StrayRows, CostTheOthersLittle) {
  for (const char* recipe : kOurs) {
    if (std::string(recipe).starts_with("int8_block")) continue;  // rows of a group share a scale
    expect_little_cost(recipe, false, 50, "q", 100.0f);           // padding whose output nobody reads
    expect_little_cost(recipe, false, 1, "q", 1e4f);
    expect_little_cost(recipe, true, 1, "k", 1e4f);
    expect_little_cost(recipe, true, 1, "v", 1e4f);
    expect_little_cost(recipe, true, 1, "v", 1e20f);
  }
}

}  // namespace
}  // namespace octavo::reference
