// The dot products of every policy: exact integers over the whole range of their codes, and pairs of bf16.
#include "policies.hpp"

namespace octavo::cpu {
namespace {

struct ByteProducts {
  std::vector<int> a, b;  // the values that each operand may take
};

// Every pair of values, in every one of the four places of a word, beside random others; then words of one pair only,
// which is where 16-bit intermediates would saturate.
void expect_products(const SimdPrimitives& w, SimdPrimitives::Ternary primitive, const ByteProducts& domain,
                     int a_offset, int b_offset, int a_bias) {
  const int bytes = 4 * w.lanes;
  std::mt19937 random(11);
  std::vector<int> a(static_cast<std::size_t>(bytes)), b(a.size());
  std::uint8_t a_bytes[4 * kMostLanes], b_bytes[4 * kMostLanes];
  std::int32_t acc[kMostLanes], out[kMostLanes];
  const auto check = [&] {
    for (int i = 0; i < bytes; ++i) {
      a_bytes[i] = static_cast<std::uint8_t>(a[static_cast<std::size_t>(i)] + a_offset);
      b_bytes[i] = static_cast<std::uint8_t>(b[static_cast<std::size_t>(i)] + b_offset);
    }
    for (int i = 0; i < w.lanes; ++i) acc[i] = static_cast<std::int32_t>(random() % 2000001) - 1000000;
    primitive(acc, a_bytes, b_bytes, out);
    for (int i = 0; i < w.lanes; ++i) {
      std::int32_t expected = acc[i];
      for (std::size_t k = static_cast<std::size_t>(4 * i); k < static_cast<std::size_t>(4 * i + 4); ++k)
        expected += (a[k] - a_bias) * (b[k] + b_offset);
      ASSERT_EQ(out[i], expected) << "lane " << i << ": a " << a[static_cast<std::size_t>(4 * i)] << " b "
                                  << b[static_cast<std::size_t>(4 * i)];
    }
  };
  int place = 0;
  for (int x : domain.a) {
    for (int y : domain.b) {
      if (place == 0) {
        for (std::size_t k = 0; k < a.size(); ++k) {
          a[k] = domain.a[random() % domain.a.size()];
          b[k] = domain.b[random() % domain.b.size()];
        }
      }
      a[static_cast<std::size_t>(place)] = x;
      b[static_cast<std::size_t>(place)] = y;
      place = (place + 1) % bytes;
      if (place == 0) check();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  for (int x : {domain.a.front(), domain.a.back(), domain.a[domain.a.size() / 2]}) {
    for (int y : {domain.b.front(), domain.b.back(), domain.b[domain.b.size() / 2]}) {
      std::fill(a.begin(), a.end(), x);
      std::fill(b.begin(), b.end(), y);
      check();
    }
  }
}

std::vector<int> range(int first, int last) {
  std::vector<int> values;
  for (int i = first; i <= last; ++i) values.push_back(i);
  return values;
}

// Calls body(primitives) for every policy whose integer products are vectors; tiles have tests of their own.
template <class Body>
void for_each_vector_product(const Body& body) {
  for_each_policy([&](const SimdPrimitives& w) {
    ASSERT_NE(w.dot_key == nullptr, w.tile_keys[0] == nullptr);
    if (w.dot_key != nullptr) body(w);
  });
}

// Query bytes reach -128 (the low plane of 16-bit queries); key codes are symmetric.
TEST(Products, ScoresAreExact) {
  for_each_vector_product([&](const SimdPrimitives& w) {
    expect_products(w, w.dot_key, {range(-128, 127), range(-127, 127)}, 0, w.key_bias, 0);
  });
}

TEST(Products, ValuesAreExact) {
  for_each_vector_product([&](const SimdPrimitives& w) {
    expect_products(w, w.dot_value, {range(0, 255), range(-127, 127)}, 0, 0, w.weight_bias);
  });
}

// Keys and values of -128, which callers' codes may hold.
TEST(Products, EveryCodeIsExact) {
  for_each_vector_product([&](const SimdPrimitives& w) {
    expect_products(w, w.dot_full_range_key, {range(-128, 127), range(-128, 127)}, 0, w.key_bias, 0);
    expect_products(w, w.dot_full_range_value, {range(0, 255), range(-128, 127)}, 0, 0, w.weight_bias);
  });
}

TEST(Products, NibblesBecomeBytes) {
  for_each_policy([&](const SimdPrimitives& w) {
    const auto bytes = static_cast<std::size_t>(4 * w.lanes);
    std::uint8_t in[4 * kMostLanes];
    std::int8_t even[4 * kMostLanes], odd[4 * kMostLanes];
    const auto value = [](int nibble) { return nibble < 8 ? nibble : nibble - 16; };
    for (std::size_t first = 0; first < 256; ++first) {
      for (std::size_t i = 0; i < bytes; ++i) in[i] = static_cast<std::uint8_t>(first + 37 * i);
      w.even_nibbles(in, even);
      w.odd_nibbles(in, odd);
      for (std::size_t i = 0; i < bytes; ++i) {
        ASSERT_EQ(even[i], value(in[i] & 15));
        ASSERT_EQ(odd[i], value(in[i] >> 4));
      }
    }
  });
}

// Eight calls with products of up to 2047 in magnitude, as 4-bit codes give beside bytes, then widened.
TEST(Products, SumsOfBytesAreExact) {
  for_each_policy([&](const SimdPrimitives& w) {
    const auto lanes = static_cast<std::size_t>(w.lanes), bytes = 4 * lanes;
    std::mt19937 random(14);
    for (int trial = 0; trial < 500; ++trial) {
      std::int32_t acc[kMostLanes] = {}, sums[kMostLanes], expected[kMostLanes] = {};
      std::uint8_t a[4 * kMostLanes];
      std::int8_t b[4 * kMostLanes];
      for (int call = 0; call < 8; ++call) {
        for (std::size_t i = 0; i < bytes; ++i) {
          const bool largest = trial % 4 < 2;  // of one sign, all calls
          const int sign = trial % 2 == 0 ? 1 : -1;
          if (trial % 8 < 4) {  // weights by values
            a[i] = static_cast<std::uint8_t>(largest ? 255 : random() % 256);
            b[i] =
                static_cast<std::int8_t>(largest ? 8 * sign - (sign > 0 ? 1 : 0) : static_cast<int>(random() % 16) - 8);
          } else {  // biased keys by queries
            a[i] = static_cast<std::uint8_t>(largest ? 15 : random() % 16);
            b[i] = static_cast<std::int8_t>(largest ? 127 * sign : static_cast<int>(random() % 255) - 127);
          }
          expected[i / 4] += a[i] * b[i];
        }
        w.dot_bytes(acc, a, b, acc);
      }
      w.widen_sums(acc, sums);
      for (std::size_t i = 0; i < lanes; ++i) ASSERT_EQ(sums[i], expected[i]) << "trial " << trial << " lane " << i;
    }
  });
}

// Bytes to pairs of s16 and the products of these: all bytes, and the ends of s16 (not -32768 in both operands, whose
// two products do not fit into s32).
TEST(Products, PairsOf16BitsAreExact) {
  for_each_policy([&](const SimdPrimitives& w) {
    const auto lanes = static_cast<std::size_t>(w.lanes);
    std::int8_t bytes[4 * kMostLanes];
    std::int16_t even[2 * kMostLanes], odd[2 * kMostLanes], a[2 * kMostLanes];
    std::int32_t acc[kMostLanes], out[kMostLanes];
    std::mt19937 random(13);
    for (int trial = 0; trial < 2000; ++trial) {
      for (std::size_t i = 0; i < 4 * lanes; ++i)
        bytes[i] = static_cast<std::int8_t>(trial < 256 ? trial + static_cast<int>(i) : static_cast<int>(random()));
      w.even_bytes(bytes, even);
      w.odd_bytes(bytes, odd);
      for (std::size_t i = 0; i < 2 * lanes; ++i) {
        ASSERT_EQ(even[i], bytes[2 * i]);
        ASSERT_EQ(odd[i], bytes[2 * i + 1]);
        a[i] = static_cast<std::int16_t>(trial % 3 == 0 ? 32767 - 65534 * static_cast<int>(random() % 2)
                                                        : static_cast<int>(random()));
      }
      for (std::size_t i = 0; i < lanes; ++i) acc[i] = static_cast<std::int32_t>(random() % 2000001) - 1000000;
      w.dot_pairs(acc, a, odd, out);
      for (std::size_t i = 0; i < lanes; ++i)
        ASSERT_EQ(out[i], acc[i] + a[2 * i] * odd[2 * i] + a[2 * i + 1] * odd[2 * i + 1]) << "lane " << i;
    }
  });
}

TEST(Products, Bf16Pairs) {
  for_each_policy([&](const SimdPrimitives& w) {
    ASSERT_EQ(w.dot_bf16 != nullptr, w.has_bf16);
    if (!w.has_bf16) return;
    const auto lanes = static_cast<std::size_t>(w.lanes);
    std::uint16_t a[2 * kMostLanes], b[2 * kMostLanes];
    float acc[kMostLanes], out[kMostLanes];
    std::mt19937 random(12);
    for (int trial = 0; trial < 2000; ++trial) {
      // Small integers: exact in bf16, and their sums in f32.
      for (std::size_t i = 0; i < 2 * lanes; ++i) {
        a[i] = f32_to_bf16(static_cast<float>(static_cast<int>(random() % 511) - 255));
        b[i] = f32_to_bf16(static_cast<float>(static_cast<int>(random() % 511) - 255));
      }
      for (std::size_t i = 0; i < lanes; ++i) acc[i] = static_cast<float>(static_cast<int>(random() % 2001) - 1000);
      w.dot_bf16(acc, a, b, out);
      for (std::size_t i = 0; i < lanes; ++i) {
        const float expected = acc[i] + bf16_to_f32(a[2 * i]) * bf16_to_f32(b[2 * i]) +
                               bf16_to_f32(a[2 * i + 1]) * bf16_to_f32(b[2 * i + 1]);
        ASSERT_EQ(out[i], expected) << "lane " << i;
      }
      const std::vector<float> x = random_floats(5 * lanes, random());
      for (std::size_t i = 0; i < 2 * lanes; ++i) a[i] = f32_to_bf16(x[i]), b[i] = f32_to_bf16(x[2 * lanes + i]);
      w.dot_bf16(x.data() + 4 * lanes, a, b, out);
      for (std::size_t i = 0; i < lanes; ++i) {
        const double p0 = static_cast<double>(bf16_to_f32(a[2 * i])) * bf16_to_f32(b[2 * i]);
        const double p1 = static_cast<double>(bf16_to_f32(a[2 * i + 1])) * bf16_to_f32(b[2 * i + 1]);
        const double size = std::fabs(p0) + std::fabs(p1) + std::fabs(x[4 * lanes + i]);
        ASSERT_NEAR(out[i], x[4 * lanes + i] + p0 + p1, 2.5e-7 * size) << "lane " << i;
      }
    }
  });
}

}  // namespace
}  // namespace octavo::cpu
