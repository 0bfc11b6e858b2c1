// Sums of a tensor core's accumulator against their definition in whole numbers of 704 bits, which nothing can cut but
// the definition itself: every pair of 8-bit floats, random steps of every format and machine, the ends of the range.
#include "spec/fused_dot.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace octavo::spec {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Accumulator kMachines[] = {Accumulator::sm80, Accumulator::sm89, Accumulator::sm90, Accumulator::sm100};

// A whole number >= 0 of units of 2^-350.
struct Whole {
  static constexpr int kUnit = -350, kWords = 22;
  std::array<std::uint32_t, kWords> words{};

  // magnitude * 2^exponent, without what lies below 2^lowest.
  static Whole of(double magnitude, int lowest) {
    Whole x;
    while (magnitude > 0) {  // from the top, one binary digit at a time
      const int exponent = std::ilogb(magnitude);
      if (exponent < lowest) break;
      x.words[static_cast<std::size_t>(exponent - kUnit) / 32] |= 1u << (exponent - kUnit) % 32;
      magnitude -= std::ldexp(1.0, exponent);
    }
    return x;
  }
  void add(const Whole& y) {
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < kWords; ++i) {
      carry += std::uint64_t{words[i]} + y.words[i];
      words[i] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  // *this >= y.
  void subtract(const Whole& y) {
    std::int64_t borrow = 0;
    for (std::size_t i = 0; i < kWords; ++i) {
      borrow += std::int64_t{words[i]} - y.words[i];
      words[i] = static_cast<std::uint32_t>(borrow);
      borrow >>= 32;
    }
  }
  bool less(const Whole& y) const {
    for (std::size_t i = kWords; i-- > 0;) {
      if (words[i] != y.words[i]) return words[i] < y.words[i];
    }
    return false;
  }
  // Cut to `mantissa_bits` below its first digit, or below 2^-126.
  double cut(int mantissa_bits) const {
    double value = 0;
    int lowest = kUnit;
    bool started = false;
    for (int bit = 32 * kWords; bit-- > 0;) {
      if ((words[static_cast<std::size_t>(bit / 32)] >> bit % 32 & 1u) == 0) continue;
      const int exponent = bit + kUnit;
      if (!started) lowest = std::max(exponent, -126) - mantissa_bits;
      started = true;
      if (exponent >= lowest) value += std::ldexp(1.0, exponent);
    }
    return value;
  }
};

// The exponent of an encoding.
int exponent_of(double x, int smallest) { return x == 0 ? -100000 : std::max(std::ilogb(x), smallest); }

float defined_step(const std::vector<float>& a, const std::vector<float>& b, float c, int smallest, int fraction_bits,
                   int mantissa_bits) {
  int largest = exponent_of(c, -126);
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == 0 || b[i] == 0) continue;
    largest = std::max(largest, exponent_of(a[i], smallest) + exponent_of(b[i], smallest));
  }
  Whole plus, minus;
  const auto add = [&](double x) { (x < 0 ? minus : plus).add(Whole::of(std::fabs(x), largest - fraction_bits)); };
  add(c);
  for (std::size_t i = 0; i < a.size(); ++i) add(static_cast<double>(a[i]) * b[i]);
  const bool negative = plus.less(minus);
  Whole& more = negative ? minus : plus;
  more.subtract(negative ? plus : minus);
  const double magnitude = more.cut(mantissa_bits);
  const float result = magnitude > std::numeric_limits<float>::max() ? kInfinity : static_cast<float>(magnitude);
  return negative && magnitude > 0 ? -result : result;
}

// What the hardware does with an instruction of 32 8-bit or 16 16-bit elements.
float defined_dot(const std::vector<float>& a, const std::vector<float>& b, float c, Accumulator machine, bool float8,
                  int smallest) {
  const bool short_mantissa = float8 && (machine == Accumulator::sm89 || machine == Accumulator::sm90);
  const bool halves = machine == Accumulator::sm80 || machine == Accumulator::sm89;
  const int fraction = short_mantissa ? 13 : halves ? 24 : 25;
  const std::size_t step = (float8 ? 32 : 16) / (halves ? 2 : 1);
  for (std::size_t i = 0; i < a.size() && std::isfinite(c); i += step) {
    const std::size_t end = std::min(a.size(), i + step);
    const auto slice = [&](const std::vector<float>& x) {
      return std::vector<float>(x.begin() + static_cast<std::ptrdiff_t>(i),
                                x.begin() + static_cast<std::ptrdiff_t>(end));
    };
    c = defined_step(slice(a), slice(b), c, smallest, fraction, short_mantissa ? 13 : 23);
  }
  return c;
}

std::vector<Factor> factors(const std::vector<float>& x, int smallest) {
  std::vector<Factor> result;
  for (float value : x) result.push_back(factor_of(value, smallest));
  return result;
}

float dot(const std::vector<float>& a, const std::vector<float>& b, float c, Accumulator machine, bool float8,
          int smallest) {
  return fused_dot(factors(a, smallest).data(), factors(b, smallest).data(), static_cast<std::int64_t>(a.size()), c,
                   dot_law(machine, float8));
}

struct Encoding {
  const char* name;
  int smallest;
  bool float8;
  float (*value)(std::uint32_t bits);
};
const Encoding kEncodings[] = {
    {"e4m3", kSmallestExponentE4m3, true, [](std::uint32_t x) { return e4m3_to_f32(static_cast<std::uint8_t>(x)); }},
    {"e5m2", kSmallestExponentE5m2, true, [](std::uint32_t x) { return e5m2_to_f32(static_cast<std::uint8_t>(x)); }},
    {"f16", kSmallestExponentF16, false, [](std::uint32_t x) { return f16_to_f32(static_cast<std::uint16_t>(x)); }},
    {"bf16", kSmallestExponentBf16, false, [](std::uint32_t x) { return bf16_to_f32(static_cast<std::uint16_t>(x)); }}};

TEST(FusedDot, FactorsAreTheirNumbers) {
  for (const Encoding& encoding : kEncodings) {
    for (std::uint32_t bits = 0; bits < (encoding.float8 ? 256u : 65536u); ++bits) {
      const float x = encoding.value(bits);
      const Factor factor = factor_of(x, encoding.smallest);
      if (!std::isfinite(x)) {
        ASSERT_EQ(factor.exponent, kInfinityExponent);
        ASSERT_EQ(factor.significand, std::isnan(x) ? 0 : x > 0 ? 1 : -1);
      } else {
        ASSERT_EQ(std::ldexp(factor.significand, factor.exponent - kFactorBits), x) << encoding.name << " " << bits;
        const int exponent = x != 0 ? exponent_of(x, encoding.smallest) : kZeroExponent;
        ASSERT_EQ(factor.exponent, exponent) << encoding.name << " " << bits;
      }
    }
  }
}

TEST(FusedDot, EveryPairOf8BitFloatsOnTopOfASum) {
  std::mt19937 random(1);
  for (const Encoding& encoding : kEncodings) {
    if (!encoding.float8) continue;
    for (std::uint32_t pair = 0; pair < 65536; ++pair) {
      const std::vector<float> a = {encoding.value(pair & 255)}, b = {encoding.value(pair >> 8)};
      if (!std::isfinite(a[0]) || !std::isfinite(b[0])) continue;
      const float c = std::ldexp(static_cast<float>(random() % (1 << 24)), static_cast<int>(random() % 50) - 45);
      for (Accumulator machine : {Accumulator::sm89, Accumulator::sm100}) {
        ASSERT_EQ(dot(a, b, c, machine, true, encoding.smallest),
                  defined_dot(a, b, c, machine, true, encoding.smallest))
            << encoding.name << " " << a[0] << " * " << b[0] << " + " << c;
      }
    }
  }
}

TEST(FusedDot, RandomSums) {
  std::mt19937 random(2);
  for (const Encoding& encoding : kEncodings) {
    for (Accumulator machine : kMachines) {
      if (encoding.float8 && machine == Accumulator::sm80) continue;
      for (int i = 0; i < 1500; ++i) {
        // Any pattern there is; numbers of like size; numbers that cancel.
        const int kind = i % 3;
        const std::size_t count = 1 + random() % 70;
        std::vector<float> a, b;
        while (a.size() < count) {
          const std::uint32_t bits = random();
          float x = encoding.value(bits & (encoding.float8 ? 255u : 65535u));
          float y = encoding.value(bits >> 16 & (encoding.float8 ? 255u : 65535u));
          if (!std::isfinite(x) || !std::isfinite(y)) continue;
          if (kind > 0) {
            x = std::copysign(1 + static_cast<float>(bits % 4) / 4, x);
            y = std::copysign(1 + static_cast<float>(bits >> 4 & 3u) / 4, y);
          }
          a.push_back(x);
          b.push_back(y);
          if (kind == 2 && a.size() < count) {
            a.push_back(-x);
            b.push_back(y);
          }
        }
        float c = f32_of_bits(static_cast<std::uint32_t>(random()));
        if (kind > 0 || !std::isfinite(c)) c = static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-28f;
        const float expected = defined_dot(a, b, c, machine, encoding.float8, encoding.smallest);
        if (!std::isfinite(expected)) continue;  // what the steps after infinity do is another test's
        ASSERT_EQ(dot(a, b, c, machine, encoding.float8, encoding.smallest), expected)
            << encoding.name << " machine " << static_cast<int>(machine) << " sum " << i;
      }
    }
  }
}

TEST(FusedDot, WhatIsLostBesideALargeSum) {
  const std::vector<float> one = {1}, half = {0.5f}, minus = {-1};
  const float large = 16384;  // its 13th fractional bit is 2
  EXPECT_EQ(dot(one, one, large, Accumulator::sm90, true, kSmallestExponentE4m3), large);
  EXPECT_EQ(dot(minus, one, large, Accumulator::sm90, true, kSmallestExponentE4m3),
            large);  // towards zero before adding
  EXPECT_EQ(dot(one, one, large, Accumulator::sm100, true, kSmallestExponentE4m3), large + 1);
  EXPECT_EQ(dot(one, one, 8192, Accumulator::sm89, true, kSmallestExponentE4m3), 8193);
  // Two that are lost one by one are lost together: each is cut alone.
  EXPECT_EQ(dot({0.5f, 0.5f}, {1, 1}, 8192, Accumulator::sm90, true, kSmallestExponentE4m3), 8192);
  // 25 fractional bits hold one that 24 do not; the f32 at the end cuts both.
  const std::vector<float> tiny = {0x1p-12f, 0x1p-12f}, ones = {0x1p-13f, 0x1p-13f};
  EXPECT_EQ(dot(tiny, ones, 1, Accumulator::sm80, false, kSmallestExponentF16), 1);
  EXPECT_EQ(dot(tiny, ones, 1, Accumulator::sm90, false, kSmallestExponentF16), 1);
  const std::vector<float> four = {0x1p-12f, 0x1p-12f, 0x1p-12f, 0x1p-12f}, b(4, 0x1p-13f);
  EXPECT_EQ(dot(four, b, 1, Accumulator::sm90, false, kSmallestExponentF16), 1 + 0x1p-23f);
  EXPECT_EQ(dot(four, b, 1, Accumulator::sm80, false, kSmallestExponentF16), 1);
}

TEST(FusedDot, EndsOfTheRange) {
  const std::vector<float> huge = {0x1p127f, 0x1p127f}, two = {1, 1};
  EXPECT_EQ(dot(huge, two, 0, Accumulator::sm90, false, kSmallestExponentBf16), kInfinity);
  const std::vector<float> tiny = {-0x1p-133f}, half = {0x1p-16f};  // a subnormal bf16: -2^-149 is left
  EXPECT_EQ(dot(tiny, half, 0, Accumulator::sm90, false, kSmallestExponentBf16), -0x1p-149f);
  EXPECT_EQ(dot({}, {}, 3, Accumulator::sm90, false, kSmallestExponentBf16), 3);
}

TEST(FusedDot, NanAndInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto sum = [](std::vector<float> a, std::vector<float> b, float c) {
    return bits_of_f32(dot(a, b, c, Accumulator::sm90, false, kSmallestExponentF16));
  };
  constexpr std::uint32_t kNan = 0x7fffffffu, kPlus = 0x7f800000u, kMinus = 0xff800000u;
  EXPECT_EQ(sum({nan}, {1}, 0), kNan);
  EXPECT_EQ(sum({1}, {1}, nan), kNan);
  EXPECT_EQ(sum({kInfinity}, {0}, 0), kNan);
  EXPECT_EQ(sum({kInfinity, 1}, {-2, 5}, 7), kMinus);
  EXPECT_EQ(sum({kInfinity, kInfinity}, {1, -1}, 0), kNan);
  EXPECT_EQ(sum({1}, {1}, kInfinity), kPlus);
  EXPECT_EQ(sum({-kInfinity}, {1}, kInfinity), kNan);
  const Factor absent[] = {kAbsentFactor}, infinite[] = {factor_of(kInfinity, kSmallestExponentF16)};
  EXPECT_EQ(fused_dot(absent, infinite, 1, 2.5f, dot_law(Accumulator::sm90, false)), 2.5f);
  EXPECT_EQ(fused_dot(infinite, absent, 1, 2.5f, dot_law(Accumulator::sm90, false)), 2.5f);
}

}  // namespace
}  // namespace octavo::spec
