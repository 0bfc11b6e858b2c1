// Where a NaN or an infinity may show and where it must not, on every implementation:
//   in q    that row is NaN and no other
//   in k    with `exact` and scales per token, only rows that see the key; otherwise never a finite wrong number
//   in v    a row that sees the token is not finite (where channels share no scale: in that channel)
//           and no other head or sequence knows of it
//   behind a mask, a length or a diagonal    nothing
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "compare.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// A quiet NaN, a negative one, payloads, a signalling one, infinities.
const float kBroken[] = {std::numeric_limits<float>::quiet_NaN(),
                         from_bits(0xffc00000u),
                         from_bits(0x7fffffffu),
                         from_bits(0xff812345u),
                         from_bits(0x7fc00001u),
                         kInfinity,
                         -kInfinity};

Scenario scenario_of(const std::string& recipe) {
  Scenario s;
  s.recipe = recipe;
  s.batch = 2;
  s.kv_heads = 2;
  s.ratio = 2;
  s.m = 40;
  s.n = 200;
  s.d = 36;
  s.dv = 20;
  s.causal = Causal::bottom_right;
  return s;
}

// Every preset, with the options that take other paths through the kernels.
template <class Body>
void for_each_case(const Body& body) {
  for (const RecipeInfo& info : recipes()) {
    for (const bool modified : {false, true}) {
      Scenario scenario = scenario_of(std::string(info.name));
      if (modified) {
        scenario.softcap = 20;
        scenario.sinks = true;
        scenario.mask = MaskKind::f64_strided;
      }
      for (const std::string& implementation : supported_implementations()) {
        SCOPED_TRACE(implementation + " " + describe(scenario));
        body(scenario, implementation);
      }
    }
  }
}

// Element (b, h, row, channel) of values with the extents of an operand.
float& element(std::vector<float>& values, std::int64_t heads, std::int64_t rows, std::int64_t dim, std::int64_t b,
               std::int64_t h, std::int64_t row, std::int64_t channel) {
  return values[static_cast<std::size_t>(((b * heads + h) * rows + row) * dim + channel)];
}

bool row_is_nan(const Outcome& o, const Scenario& s, std::int64_t row) {
  bool all = std::isnan(o.lse[static_cast<std::size_t>(row)]);
  for (std::int64_t c = 0; c < s.dv; ++c) all = all && std::isnan(o.out[static_cast<std::size_t>(row * s.dv + c)]);
  return all;
}
bool row_is_finite(const Outcome& o, const Scenario& s, std::int64_t row) {
  bool all = std::isfinite(o.lse[static_cast<std::size_t>(row)]);
  for (std::int64_t c = 0; c < s.dv; ++c) all = all && std::isfinite(o.out[static_cast<std::size_t>(row * s.dv + c)]);
  return all;
}

// All rows of [B][Hq][M]: body(b, q_head, i, index).
template <class Body>
void for_each_row(const Scenario& s, const Body& body) {
  std::int64_t index = 0;
  for (std::int64_t b = 0; b < s.batch; ++b)
    for (std::int64_t h = 0; h < s.q_heads(); ++h)
      for (std::int64_t i = 0; i < s.m; ++i) body(b, h, i, index++);
}

bool sees(const Scenario& s, std::int64_t i, std::int64_t key) { return key <= i + s.n - s.m; }

// What is finite is as close to the oracle's answer to the same call as the contract says. `floats`: the call without
// codes, for the recipe's own error.
void expect_rest_agrees(const Call& call, const Outcome& got, const Call& floats) {
  const Outcome oracle = call.run("reference");
  ASSERT_TRUE(oracle.status.ok());
  Difference difference;
  std::vector<float> mine, expected;
  for (std::size_t i = 0; i < got.out.size(); ++i) {
    if (!std::isfinite(got.out[i]) || !std::isfinite(oracle.out[i])) continue;
    mine.push_back(got.out[i]);
    expected.push_back(oracle.out[i]);
  }
  difference.add(mine, expected);
  double own_error = 0;
  if (!is_exact_or_s8(recipe_of(call.scenario().recipe))) {
    const Outcome exact = floats.run("reference", {.recipe = "exact"});
    ASSERT_TRUE(exact.status.ok()) << exact.status.message();
    std::vector<float> exact_values;
    for (std::size_t i = 0; i < got.out.size(); ++i)
      if (std::isfinite(got.out[i]) && std::isfinite(oracle.out[i])) exact_values.push_back(exact.out[i]);
    own_error = relative_l2(expected, exact_values);
  }
  EXPECT_LE(difference.relative(), output_bound(recipe_of(call.scenario().recipe),
                                                std::isfinite(own_error) ? own_error : 0, difference.elements));
}

void expect_rest_agrees(const Call& call, const Outcome& got) { expect_rest_agrees(call, got, call); }

// Scales of Q and K that no two tokens share: what a key holds then reaches nobody who does not see it.
bool has_own_scales(const Recipe& recipe) {
  return recipe.scores == Format::input ||
         (recipe.q_scale == Granularity::token && recipe.k_scale == Granularity::token);
}

TEST(NonFinite, InQMakesItsRowNan) {
  for_each_case([](const Scenario& s, const std::string& implementation) {
    for (std::size_t kind = 0; kind < std::size(kBroken); ++kind) {
      Call call(s);
      const std::int64_t row = static_cast<std::int64_t>(5 * kind) + 1;
      const std::int64_t channel = kind % 3 == 0 ? 0 : kind % 3 == 1 ? s.d - 1 : s.d / 2;
      element(call.q_values, s.q_heads(), s.m, s.d, 1, 2, row, channel) = kBroken[kind];
      call.place();
      const Outcome got = call.run(implementation);
      ASSERT_TRUE(got.status.ok()) << got.status.message();
      const bool shared = !has_own_scales(recipe_of(s.recipe));
      for_each_row(s, [&](std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t index) {
        if (b == 1 && h == 2 && i == row) {
          EXPECT_TRUE(row_is_nan(got, s, index)) << "value " << kind << " row " << i;
        } else if (!(shared && b == 1 && h == 2)) {
          EXPECT_TRUE(row_is_finite(got, s, index)) << "value " << kind << " row " << i << " head " << h;
        }
      });
      expect_rest_agrees(call, got);
    }
  });
}

TEST(NonFinite, InKReachesRowsThatSeeTheKey) {
  for_each_case([](const Scenario& s, const std::string& implementation) {
    for (std::size_t kind = 0; kind < std::size(kBroken); ++kind) {
      Call call(s);
      const std::int64_t key = 165 + static_cast<std::int64_t>(4 * kind);
      element(call.k_values, s.kv_heads, s.n, s.d, 0, 1, key, kind % 2 == 0 ? s.d - 1 : 0) = kBroken[kind];
      call.place();
      const Outcome got = call.run(implementation);
      ASSERT_TRUE(got.status.ok()) << got.status.message();
      const bool shared = !has_own_scales(recipe_of(s.recipe));
      for_each_row(s, [&](std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t index) {
        const bool its_head = b == 0 && h / s.ratio == 1;
        if (its_head && sees(s, i, key)) {
          EXPECT_TRUE(row_is_nan(got, s, index)) << "value " << kind << " row " << i;
        } else if (!(shared && its_head)) {
          EXPECT_TRUE(row_is_finite(got, s, index)) << "value " << kind << " row " << i << " head " << h;
        }
      });
      expect_rest_agrees(call, got);
    }
  });
}

TEST(NonFinite, InVIsNeverFiniteAndWrong) {
  for_each_case([](const Scenario& s, const std::string& implementation) {
    const Recipe recipe = recipe_of(s.recipe);
    // No scale, or one of each channel: the other channels need not know.
    const bool own_channels = recipe.v_scale == Granularity::none || recipe.v_scale == Granularity::channel ||
                              recipe.v_scale == Granularity::block_channel;
    const Outcome clean = Call(s).run(implementation);
    for (std::size_t kind = 0; kind < std::size(kBroken); ++kind) {
      Call call(s);
      const std::int64_t key = 165 + static_cast<std::int64_t>(4 * kind), channel = kind % 2 == 0 ? s.dv - 1 : 3;
      element(call.v_values, s.kv_heads, s.n, s.dv, 0, 1, key, channel) = kBroken[kind];
      call.place();
      const Outcome got = call.run(implementation);
      ASSERT_TRUE(got.status.ok()) << got.status.message();
      for_each_row(s, [&](std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t index) {
        const float* row = got.out.data() + index * s.dv;
        if (b != 0 || h / s.ratio != 1) {  // bit for bit as without
          EXPECT_EQ(std::memcmp(row, clean.out.data() + index * s.dv, static_cast<std::size_t>(s.dv) * 4), 0);
        } else if (sees(s, i, key)) {
          for (std::int64_t c = 0; c < s.dv; ++c) {
            if (c == channel || !own_channels) {
              EXPECT_FALSE(std::isfinite(row[c])) << "value " << kind << " row " << i << " channel " << c;
            }
          }
        }
      });
      expect_rest_agrees(call, got);
    }
  });
}

// Keys that nobody may see: a NaN there changes no bit, except through means and scales that are shared.
TEST(NonFinite, BehindAMaskOrADiagonalIsNothing) {
  for_each_case([](const Scenario& scenario, const std::string& implementation) {
    Scenario s = scenario;
    s.window_left = 30;  // with the diagonal: row 0 sees keys 130..160, so key 100 is nobody's
    const Recipe recipe = recipe_of(s.recipe);
    if (!has_own_scales(recipe)) return;
    for (const float broken : kBroken) {
      Call call(s);
      element(call.k_values, s.kv_heads, s.n, s.d, 1, 0, 100, 5) = broken;
      call.place();
      const Outcome got = call.run(implementation);
      ASSERT_TRUE(got.status.ok()) << got.status.message();
      for_each_row(s, [&](std::int64_t, std::int64_t h, std::int64_t i, std::int64_t index) {
        EXPECT_TRUE(row_is_finite(got, s, index)) << "row " << i << " head " << h;
      });
      expect_rest_agrees(call, got);
    }
  });
}

// [M, N] with one element that is no number: its row is NaN, no other one is.
TEST(NonFinite, InAMaskMakesItsRowNan) {
  for (const RecipeInfo& info : recipes()) {
    Scenario s = scenario_of(std::string(info.name));
    s.mask = MaskKind::f32_minus_huge;
    for (const float broken : kBroken) {
      if (broken == -kInfinity) continue;
      Call call(s);
      call.spoil_mask(7 * s.n + 20, broken);
      for (const std::string& implementation : supported_implementations()) {
        SCOPED_TRACE(implementation + " " + describe(s));
        const Outcome got = call.run(implementation);
        ASSERT_TRUE(got.status.ok()) << got.status.message();
        for_each_row(s, [&](std::int64_t, std::int64_t, std::int64_t i, std::int64_t index) {
          if (i == 7) {
            EXPECT_TRUE(row_is_nan(got, s, index));
          } else {
            EXPECT_TRUE(row_is_finite(got, s, index)) << "row " << i;
          }
        });
      }
    }
  }
}

// As long as f32 holds the scores and the sums of their rotation's butterflies.
TEST(NonFinite, FiniteInputsGiveFiniteOutputs) {
  struct Sizes {
    float scores, values;
  };
  for (const RecipeInfo& info : recipes()) {
    for (const Sizes size : {Sizes{1e-38f, 1e-38f}, {1e-20f, 1e-20f}, {1e4f, 1e4f}, {1e15f, 1e15f}, {1, 1e33f}}) {
      Scenario s = scenario_of(std::string(info.name));
      s.batch = 1;
      s.softmax_scale = 1;
      Call call(s);
      for (float& x : call.q_values) x *= size.scores;
      for (float& x : call.k_values) x *= size.scores;
      for (float& x : call.v_values) x *= size.values;
      call.place();
      for (const std::string& implementation : supported_implementations()) {
        SCOPED_TRACE(implementation + " " + describe(s) + " values of " + std::to_string(size.values));
        for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
          const Outcome got = call.run(implementation, {.out_dtype = dtype});
          ASSERT_TRUE(got.status.ok()) << got.status.message();
          bool finite = true;
          for (float x : got.out) finite = finite && std::isfinite(x);
          EXPECT_TRUE(finite) << to_string(dtype);
        }
      }
    }
  }
}

constexpr float kLargest = std::numeric_limits<float>::max();

// Every preset, and compositions that hold V in other forms.
std::vector<std::string> recipes_of_values() {
  std::vector<std::string> all;
  for (const RecipeInfo& info : recipes()) all.emplace_back(info.name);
  for (const char* composed :
       {"exact,hadamard_v=on", "exact,smooth_v=on", "int8_fast,v_scale=token", "int8_fast,channel_gains=on",
        "int8_block,hadamard_v=on", "int8_block,smooth_v=on", "sage1_int8,smooth_v=on"})
    all.emplace_back(composed);
  return all;
}

// Where a sum of values, their mean or a rotation's butterflies would leave f32. Dv of 20 and 64 take other paths.
TEST(NonFinite, ValuesNearTheEndOfF32AreFiniteAndRight) {
  for (const std::string& recipe : recipes_of_values()) {
    for (const float size : {1e36f, 1e38f, kLargest}) {
      Scenario s = scenario_of(recipe);
      s.batch = 1;
      s.m = 20;
      s.dv = size == 1e38f ? 64 : 20;
      s.sinks = size == 1e36f;
      Call call(s);
      for (std::size_t i = 0; i < call.v_values.size(); ++i) {
        float& x = call.v_values[i];
        const bool of_first_head = i < call.v_values.size() / 2;
        x = of_first_head ? std::clamp(x * std::min(size, 1e38f), -kLargest, kLargest) : size;
      }
      call.place();
      for (const std::string& implementation : supported_implementations()) {
        SCOPED_TRACE(implementation + " " + describe(s) + " values of " + std::to_string(std::log10(size)));
        for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
          const Outcome got = call.run(implementation, {.out_dtype = dtype});
          ASSERT_TRUE(got.status.ok()) << got.status.message();
          std::size_t wrong = 0;
          for (float x : got.out) wrong += std::isfinite(x) ? 0 : 1;
          EXPECT_EQ(wrong, 0u) << to_string(dtype) << ", of " << got.out.size();
          if (dtype == DType::f32) expect_rest_agrees(call, got);
        }
      }
    }
  }
}

// Codes whose scales are as large: their sums leave f32, what they stand for does not.
TEST(NonFinite, CodesNearTheEndOfF32AreFiniteAndRight) {
  for (const RecipeInfo& info : recipes()) {
    const Recipe recipe = info.recipe;
    if (recipe.values == Format::input || recipe.values == Format::f16) continue;
    Scenario s = scenario_of(std::string(info.name));
    s.batch = 1;
    Call floats(s);
    for (float& x : floats.v_values) x *= 1e36f;
    floats.place();
    s.quantized_v = true;
    Call call(s);
    call.v_values = floats.v_values;
    call.place();
    for (const std::string& implementation : supported_implementations()) {
      SCOPED_TRACE(implementation + " " + describe(s));
      const Outcome got = call.run(implementation);
      ASSERT_TRUE(got.status.ok()) << got.status.message();
      for (float x : got.out) ASSERT_TRUE(std::isfinite(x));
      expect_rest_agrees(call, got, floats);
    }
  }
}

// A unit for values that are large must not hide those that are none.
TEST(NonFinite, AnInfinityBesideHugeValuesStays) {
  for_each_case([](const Scenario& scenario, const std::string& implementation) {
    Scenario s = scenario;
    s.batch = 1;
    s.causal = Causal::none;
    Call call(s);
    for (float& x : call.v_values) x *= 1e36f;
    element(call.v_values, s.kv_heads, s.n, s.dv, 0, 0, 77, 3) = kInfinity;
    call.place();
    const Outcome got = call.run(implementation);
    ASSERT_TRUE(got.status.ok()) << got.status.message();
    for_each_row(s, [&](std::int64_t, std::int64_t h, std::int64_t, std::int64_t index) {
      const float* row = got.out.data() + index * s.dv;
      for (std::int64_t c = 0; c < s.dv; ++c) {
        if (h / s.ratio != 0) {
          EXPECT_TRUE(std::isfinite(row[c]));
        } else if (c == 3) {
          EXPECT_FALSE(std::isfinite(row[c]));
        }
      }
    });
  });
}

}  // namespace
}  // namespace octavo::test
