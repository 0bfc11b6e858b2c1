// V near f32's end on a device (spec/v_prescale.hpp): sums of such values, their means and a rotation's butterflies
// would leave f32; what they stand for does not. Every form in which the kernels hold V, beside the oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "card.hpp"
#include "compare.hpp"
#include "device_twin.hpp"
#include "scenario.hpp"
#include "spec/v_prescale.hpp"

namespace octavo::test {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Form {
  const char* recipe;
  DType dtype = DType::f32;
};
// By token and folded, by block, by tensor, by channel; rotated, smoothed, neither; f16 values, and values as they are.
constexpr Form kForms[] = {
    {"int8_fast"},
    {"int8_fast", DType::bf16},
    {"int8"},
    {"int8", DType::bf16},
    {"int8_block"},
    {"int8_block,hadamard_v=on"},
    {"int8_fast,v_scale=block"},
    {"int_flash"},
    {"int_flash_half"},
    {"int_flash_half,hadamard_v=on,smooth_v=on"},
    {"sage1_int8"},
    {"sage1_int8,smooth_v=on"},
    {"exact", DType::bf16},
};

Scenario scenario_of(const Form& form, std::int64_t dv) {
  Scenario s;
  s.recipe = form.recipe;
  s.dtype = form.dtype;
  s.kv_heads = 2;
  s.m = 20;
  s.n = 150;
  s.d = 36;
  s.dv = dv;
  s.causal = Causal::bottom_right;
  s.sinks = dv == 20;
  return s;
}

Outcome on_device(const Call& call, DType out = DType::f32) {
  RunOptions options;
  options.out_dtype = out;
  options.attention = &attention_on_device;
  return call.run("", options);
}

double bound_of(const Call& call, const Call& floats, const Outcome& expected, std::int64_t elements) {
  const Scenario& s = call.scenario();
  if (std::string(s.recipe) == "exact") return kExactBf16Gate;
  double own_error = 0;
  if (!is_exact_or_s8(recipe_of(s.recipe))) {
    own_error = relative_l2(expected.out, floats.run("reference", {.recipe = "exact"}).out);
  }
  return output_bound(recipe_of(s.recipe), own_error, elements);
}

void expect_the_oracles(const Call& call, const Call& floats) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const Outcome got = on_device(call, dtype);
    ASSERT_TRUE(got.status.ok()) << got.status.message();
    for (const float x : got.out) ASSERT_TRUE(std::isfinite(x)) << to_string(dtype);
    if (dtype != DType::f32) continue;
    const Outcome expected = call.run("reference");
    ASSERT_TRUE(expected.status.ok()) << expected.status.message();
    Difference difference;
    difference.add(got.out, expected.out);
    EXPECT_EQ(difference.wrong, "");
    EXPECT_LE(difference.relative(), bound_of(call, floats, expected, difference.elements));
  }
}

TEST(CudaValueUnit, ValuesNearTheEndOfF32AreTheOracles) {
  const Card card;
  for (const Form& form : kForms) {
    // A row of O leaves by other ways where it fills its tile (64) and where it does not.
    for (const std::int64_t dv : {20, 64}) {
      Call call(scenario_of(form, dv));
      const float largest = form.dtype == DType::bf16 ? 0x1.fep127f : kLargest;
      for (std::size_t i = 0; i < call.v_values.size(); ++i) {
        float& x = call.v_values[i];
        // One head of large numbers of either sign, one that is nothing but the largest.
        x = i < call.v_values.size() / 2 ? std::clamp(x * (dv == 20 ? 1e36f : 1e38f), -largest, largest) : largest;
      }
      call.place();
      SCOPED_TRACE(describe(call.scenario()));
      expect_the_oracles(call, call);
      EXPECT_EQ(card.held(), 0);
    }
  }
}

// The unit is a head's own: a neighbour's small numbers keep all their digits.
TEST(CudaValueUnit, OneHeadsUnitIsNoOtherHeads) {
  const Card card;
  for (const Form& form : kForms) {
    Call plain(scenario_of(form, 64)), mixed(scenario_of(form, 64));
    const std::size_t half = mixed.v_values.size() / 2;
    for (std::size_t i = 0; i < half; ++i) mixed.v_values[i] *= 1e36f;
    for (std::size_t i = half; i < mixed.v_values.size(); ++i) mixed.v_values[i] *= 1e-30f, plain.v_values[i] *= 1e-30f;
    plain.place(), mixed.place();
    SCOPED_TRACE(describe(mixed.scenario()));
    const Outcome expected = on_device(plain), got = on_device(mixed);
    ASSERT_TRUE(expected.status.ok() && got.status.ok());
    const std::size_t out_half = got.out.size() / 2;
    EXPECT_TRUE(std::equal(got.out.begin() + static_cast<std::ptrdiff_t>(out_half), got.out.end(),
                           expected.out.begin() + static_cast<std::ptrdiff_t>(out_half)));
  }
}

TEST(CudaValueUnit, CodesNearTheEndOfF32AreTheOracles) {
  const Card card;
  for (const Form& form : kForms) {
    const Recipe recipe = recipe_of(form.recipe);
    if (recipe.values == Format::input || recipe.values == Format::f16) continue;
    Scenario s = scenario_of(form, 64);
    Call floats(s);
    // quantize() knows no unit: a rotation's butterflies must stay below f32's end there.
    const float size = recipe.hadamard_v ? 1e36f : 2e38f;
    for (float& x : floats.v_values) x = std::clamp(std::fabs(x) * size, 0.0f, kLargest);
    floats.place();
    s.quantized_v = true;
    Call call(s);
    call.v_values = floats.v_values;
    call.place();
    SCOPED_TRACE(describe(s));
    expect_the_oracles(call, floats);
  }
}

// A unit for values that are large must not hide one that is none.
TEST(CudaValueUnit, AnInfinityBesideHugeValuesStays) {
  const Card card;
  for (const Form& form : kForms) {
    Scenario s = scenario_of(form, 20);
    s.causal = Causal::none;
    Call call(s);
    for (float& x : call.v_values) x *= 1e36f;
    call.v_values[static_cast<std::size_t>(77 * s.dv + 3)] = kInfinity;
    call.place();
    SCOPED_TRACE(describe(s));
    const Outcome got = on_device(call);
    ASSERT_TRUE(got.status.ok()) << got.status.message();
    for (std::int64_t row = 0; row < s.m; ++row) {
      EXPECT_FALSE(std::isfinite(got.out[static_cast<std::size_t>(row * s.dv + 3)])) << row;
    }
  }
}

}  // namespace
}  // namespace octavo::test
