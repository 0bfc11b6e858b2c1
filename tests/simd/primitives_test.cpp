// The primitives of every policy against plain C++, lane by lane, on the edges of their domains.
#include <cfloat>

#include "expect.hpp"

namespace octavo::cpu {
namespace {

using Primitive2 = SimdPrimitives::Binary SimdPrimitives::*;
using Primitive1 = SimdPrimitives::Unary SimdPrimitives::*;

std::vector<std::int32_t> edge_ints() {
  std::vector<std::int32_t> values = {0, 1, -1, 2, 127, -128, 255, 256, 0x7fffff, 0xffffff, INT32_MAX, INT32_MIN};
  std::mt19937 random(5);
  for (int i = 0; i < 20; ++i) values.push_back(static_cast<std::int32_t>(random()));
  return values;
}

TEST(Primitives, FloatArithmetic) {
  std::vector<float> values = edge_floats();
  for (float x : random_floats(23, 1)) values.push_back(x);
  for_each_policy([&](const SimdPrimitives& w) {
    const auto check = [&](const char* name, Primitive2 primitive, float (*expected)(float, float)) {
      expect_of_pairs(w, name, w.*primitive, values, expected, same_float);
    };
    check("add", &SimdPrimitives::add, [](float a, float b) { return a + b; });
    check("sub", &SimdPrimitives::sub, [](float a, float b) { return a - b; });
    check("mul", &SimdPrimitives::mul, [](float a, float b) { return a * b; });
    check("div", &SimdPrimitives::div, [](float a, float b) { return a / b; });
    // The second operand where either is NaN, and of two zeros.
    check("max", &SimdPrimitives::max, [](float a, float b) { return a > b ? a : b; });
    check("min", &SimdPrimitives::min, [](float a, float b) { return a < b ? a : b; });
    expect_of_each<float, float>(w, "copy", w.copy_f32, values, [](float a) { return a; }, same_float);
    expect_of_each<float, float>(w, "abs", w.abs, values, [](float a) { return std::fabs(a); }, same_float);
  });
}

TEST(Primitives, FmaRoundsOnce) {
  std::vector<float> values = edge_floats();
  for (float x : random_floats(40, 2)) values.push_back(x);
  for_each_policy([&](const SimdPrimitives& w) {
    float a[kMostLanes], b[kMostLanes], c[kMostLanes], out[kMostLanes];
    std::mt19937 random(3);
    for (int trial = 0; trial < 20000; ++trial) {
      for (int i = 0; i < w.lanes; ++i) {
        a[i] = values[random() % values.size()];
        b[i] = values[random() % values.size()];
        // Often what nearly cancels the product: there a second rounding shows.
        c[i] = random() % 2 == 0 ? values[random() % values.size()] : -(a[i] * b[i]);
      }
      w.fma(a, b, c, out);
      for (int i = 0; i < w.lanes; ++i) {
        const float expected =
            w.fma_rounds_once
                ? std::fma(a[i], b[i], c[i])
                : static_cast<float>(static_cast<double>(a[i]) * static_cast<double>(b[i]) + static_cast<double>(c[i]));
        ASSERT_TRUE(same_float(out[i], expected)) << a[i] << " * " << b[i] << " + " << c[i] << " is " << out[i];
      }
    }
  });
}

TEST(Primitives, FractionAndPowerOfAnInteger) {
  std::vector<float> values{-126.0f, -125.5f, -2.5f, -1.5f, -0.5f, -0.0f, 0.0f, 0.5f, 1.5f, 2.5f, 126.5f, NAN};
  std::mt19937 random(5);
  for (int i = 0; i < 500; ++i) values.push_back(std::uniform_real_distribution<float>(-126, 127)(random));
  for (float x : std::vector<float>(values)) values.push_back(std::nextafter(x, 0.0f));
  for_each_policy([&](const SimdPrimitives& w) {
    const auto integer = [&](float x) { return w.exp2_floors ? std::floor(x) : std::nearbyint(x); };
    expect_of_each<float, float>(
        w, "fraction", w.fraction, values, [&](float x) { return x - integer(x); },
        [](float a, float b) { return a == b || (a != a && b != b); });
    for (float p : {1.0f, 1.41f, 1.25f}) {
      float repeated[kMostLanes], x[kMostLanes], out[kMostLanes];
      for (int i = 0; i < w.lanes; ++i) repeated[i] = p;
      for (std::size_t i = 0; i < values.size(); i += static_cast<std::size_t>(w.lanes)) {
        for (int j = 0; j < w.lanes; ++j) x[j] = values[std::min(i + static_cast<std::size_t>(j), values.size() - 1)];
        w.times_exp2(repeated, x, out);
        for (int j = 0; j < w.lanes; ++j) {
          if (x[j] != x[j]) continue;  // NaN comes with p
          const float expected = p * std::exp2(integer(x[j]));
          ASSERT_EQ(out[j], expected) << p << " times a power of two by " << x[j];
        }
        float least[kMostLanes];
        std::fill_n(least, w.lanes, -20.5f);
        w.times_exp2_where(repeated, x, least, out);
        for (int j = 0; j < w.lanes; ++j) {
          if (x[j] != x[j]) continue;
          ASSERT_EQ(out[j], x[j] < -20.5f ? 0.0f : p * std::exp2(integer(x[j]))) << x[j];
        }
      }
    }
    float nan[kMostLanes], out[kMostLanes];
    for (float& x : nan) x = NAN;
    w.times_exp2(nan, nan, out);
    for (int j = 0; j < w.lanes; ++j) ASSERT_TRUE(std::isnan(out[j]));
    const float least[kMostLanes] = {};
    w.times_exp2_where(nan, nan, least, out);
    for (int j = 0; j < w.lanes; ++j) ASSERT_TRUE(std::isnan(out[j]));
  });
}

TEST(Primitives, IntegerArithmetic) {
  const std::vector<std::int32_t> values = edge_ints();
  const auto u32 = [](std::int32_t x) { return static_cast<std::uint32_t>(x); };
  const auto s32 = [](std::uint32_t x) { return static_cast<std::int32_t>(x); };
  for_each_policy([&](const SimdPrimitives& w) {
    const auto check = [&](const char* name, Primitive2 primitive, const auto& expected) {
      expect_of_pairs(w, name, w.*primitive, values, expected, same_int);
    };
    check("add_s32", &SimdPrimitives::add_s32, [&](std::int32_t a, std::int32_t b) { return s32(u32(a) + u32(b)); });
    check("max_s32", &SimdPrimitives::max_s32, [](std::int32_t a, std::int32_t b) { return a > b ? a : b; });
    check("and_s32", &SimdPrimitives::and_s32, [](std::int32_t a, std::int32_t b) { return a & b; });
    check("or_s32", &SimdPrimitives::or_s32, [](std::int32_t a, std::int32_t b) { return a | b; });
    check("xor_s32", &SimdPrimitives::xor_s32, [](std::int32_t a, std::int32_t b) { return a ^ b; });
    const auto left = [&](Primitive1 primitive, int bits) {
      expect_of_each<std::int32_t, std::int32_t>(
          w, "shift_left", w.*primitive, values, [&](std::int32_t a) { return s32(u32(a) << bits); }, same_int);
    };
    left(&SimdPrimitives::shift_left_1, 1);
    left(&SimdPrimitives::shift_left_8, 8);
    left(&SimdPrimitives::shift_left_16, 16);
    left(&SimdPrimitives::shift_left_23, 23);
    left(&SimdPrimitives::shift_left_24, 24);
    const auto right = [&](Primitive1 primitive, int bits) {
      expect_of_each<std::int32_t, std::int32_t>(
          w, "shift_right", w.*primitive, values, [&](std::int32_t a) { return s32(u32(a) >> bits); }, same_int);
    };
    right(&SimdPrimitives::shift_right_1, 1);
    right(&SimdPrimitives::shift_right_16, 16);
    right(&SimdPrimitives::shift_right_23, 23);
    right(&SimdPrimitives::shift_right_31, 31);
    expect_of_each<std::int32_t, std::int32_t>(
        w, "copy", w.copy_s32, values, [](std::int32_t a) { return a; }, same_int);
  });
}

TEST(Primitives, OneValueInAllLanes) {
  for_each_policy([&](const SimdPrimitives& w) {
    float out[kMostLanes];
    std::int32_t ints[kMostLanes];
    for (float x : edge_floats()) {
      w.repeat_f32(&x, out);
      for (int i = 0; i < w.lanes; ++i) ASSERT_TRUE(same_float(out[i], x)) << x;
    }
    for (std::int32_t x : edge_ints()) {
      w.repeat_s32(&x, ints);
      for (int i = 0; i < w.lanes; ++i) ASSERT_EQ(ints[i], x);
    }
    w.lane_index(out);
    for (int i = 0; i < w.lanes; ++i) ASSERT_EQ(out[i], static_cast<float>(i));
  });
}

TEST(Primitives, RoundingToIntegersIsToNearestEven) {
  std::vector<float> values = {0.0f, -0.0f, FLT_TRUE_MIN, -FLT_MIN, 4194304.0f, -4194304.0f, 4194303.5f, -4194303.5f};
  for (int i = -300; i <= 300; ++i) {
    const float tie = static_cast<float>(i) + 0.5f;
    values.insert(values.end(), {static_cast<float>(i), tie, std::nextafter(tie, -1e9f), std::nextafter(tie, 1e9f)});
  }
  std::mt19937 random(4);
  std::uniform_real_distribution<float> wide(-4194304.0f, 4194304.0f);
  for (int i = 0; i < 2000; ++i) values.push_back(wide(random));
  for_each_policy([&](const SimdPrimitives& w) {
    expect_of_each<float, std::int32_t>(
        w, "round_to_s32", w.round_to_s32, values, [](float a) { return static_cast<std::int32_t>(std::nearbyint(a)); },
        same_int);
    expect_of_each<std::int32_t, float>(
        w, "to_f32", w.to_f32, edge_ints(), [](std::int32_t a) { return static_cast<float>(a); }, same_float);
  });
}

TEST(Primitives, BitsAreKept) {
  std::vector<std::uint32_t> patterns;
  for (float x : edge_floats()) patterns.push_back(bits_of_f32(x));
  patterns.push_back(0x7f800001u);  // a signalling NaN with a payload
  patterns.push_back(0xffc12345u);
  for_each_policy([&](const SimdPrimitives& w) {
    const auto same = [](std::uint32_t got, std::uint32_t expected) { return got == expected; };
    const auto itself = [](std::uint32_t a) { return a; };
    expect_of_each<std::uint32_t, std::uint32_t>(w, "bits", w.bits, patterns, itself, same);
    expect_of_each<std::uint32_t, std::uint32_t>(w, "from_bits", w.from_bits, patterns, itself, same);
  });
}

TEST(Primitives, MasksChooseLaneByLane) {
  const std::vector<float> values = edge_floats();
  for_each_policy([&](const SimdPrimitives& w) {
    float a[kMostLanes], b[kMostLanes], c[kMostLanes], out[kMostLanes];
    std::mt19937 random(6);
    for (int trial = 0; trial < 4000; ++trial) {
      for (int i = 0; i < w.lanes; ++i) {
        a[i] = values[random() % values.size()];
        b[i] = random() % 3 == 0 ? a[i] : values[random() % values.size()];
        c[i] = static_cast<float>(1000 + i);
      }
      bool all = true;
      w.select_less(a, b, c, out);
      for (int i = 0; i < w.lanes; ++i)
        ASSERT_TRUE(same_float(out[i], a[i] < b[i] ? a[i] : c[i])) << a[i] << " " << b[i];
      w.select_equal(a, b, c, out);
      for (int i = 0; i < w.lanes; ++i) {
        ASSERT_TRUE(same_float(out[i], a[i] == b[i] ? a[i] : c[i])) << a[i] << " " << b[i];
        all = all && a[i] == b[i];
      }
      ASSERT_EQ(w.all_equal(a, b), all);
      w.select_finite(a, b, c, out);
      for (int i = 0; i < w.lanes; ++i) ASSERT_TRUE(same_float(out[i], std::isfinite(a[i]) ? a[i] : c[i])) << a[i];
    }
    for (int nonfinite = 0; nonfinite < w.lanes; ++nonfinite) {
      for (int i = 0; i < w.lanes; ++i) a[i] = b[i] = static_cast<float>(i);
      ASSERT_TRUE(w.all_equal(a, b));
      b[nonfinite] = -1;
      ASSERT_FALSE(w.all_equal(a, b)) << "lane " << nonfinite;
    }
  });
}

// What the portable policy says is what every other one says, on numbers nobody chose: the primitives whose bits are
// fixed.
TEST(Primitives, EveryPolicyEqualsThePortableOne) {
  const SimdPrimitives* scalar = nullptr;
  for (const Policy& policy : policies())
    if (std::string(policy.primitives->name) == "scalar") scalar = policy.primitives;
  ASSERT_NE(scalar, nullptr);
  constexpr std::size_t kCount = 48 * 64;
  std::mt19937 random(9);
  std::vector<std::uint32_t> a(kCount), b(kCount), c(kCount);
  for (auto* x : {&a, &b, &c})
    for (std::uint32_t& bits : *x) bits = static_cast<std::uint32_t>(random());
  const auto through = [&](const SimdPrimitives& w, SimdPrimitives::Binary primitive) {
    std::vector<std::uint32_t> out(kCount);
    for (std::size_t i = 0; i < kCount; i += static_cast<std::size_t>(w.lanes)) primitive(&a[i], &b[i], &out[i]);
    return out;
  };
  const auto through_three = [&](const SimdPrimitives& w, SimdPrimitives::Ternary primitive) {
    std::vector<std::uint32_t> out(kCount);
    for (std::size_t i = 0; i < kCount; i += static_cast<std::size_t>(w.lanes)) primitive(&a[i], &b[i], &c[i], &out[i]);
    return out;
  };
  const auto compare = [&](const char* name, const auto& got, const auto& expected) {
    for (std::size_t i = 0; i < kCount; ++i)
      ASSERT_TRUE(same_float(f32_of_bits(got[i]), f32_of_bits(expected[i]))) << name << " of element " << i;
  };
  for_each_policy([&](const SimdPrimitives& w) {
    for (Primitive2 primitive :
         {&SimdPrimitives::add, &SimdPrimitives::sub, &SimdPrimitives::mul, &SimdPrimitives::div, &SimdPrimitives::max,
          &SimdPrimitives::min, &SimdPrimitives::add_s32, &SimdPrimitives::max_s32, &SimdPrimitives::and_s32,
          &SimdPrimitives::or_s32, &SimdPrimitives::xor_s32})
      compare("primitive", through(w, w.*primitive), through(*scalar, scalar->*primitive));
    for (auto primitive : {&SimdPrimitives::select_less, &SimdPrimitives::select_equal, &SimdPrimitives::select_finite})
      compare("select", through_three(w, w.*primitive), through_three(*scalar, scalar->*primitive));
  });
}

}  // namespace
}  // namespace octavo::cpu
