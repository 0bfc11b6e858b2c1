// Primitives that convert formats: every pattern of f16 and bf16, what lies beside the middle of two, every byte.
#include <cfloat>

#include "expect.hpp"

namespace octavo::cpu {
namespace {

// Inputs of a conversion to 16 bits: every pattern of the format, and what lies just beside the middle of two.
std::vector<float> around_every(float (*to_f32)(std::uint16_t)) {
  std::vector<float> values = edge_floats();
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const float x = to_f32(static_cast<std::uint16_t>(bits)), next = to_f32(static_cast<std::uint16_t>(bits + 1));
    values.push_back(x);
    if (!std::isfinite(x)) continue;
    // The last number's neighbour is infinity: where rounding goes over is half of its last step further.
    const double step = std::isfinite(next) ? static_cast<double>(next) - x
                                            : static_cast<double>(x) - to_f32(static_cast<std::uint16_t>(bits - 1));
    const float middle = static_cast<float>(x + step / 2);
    values.insert(values.end(), {std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 2 * middle)});
  }
  return values;
}

TEST(Formats, SixteenBitFloats) {
  std::vector<std::uint16_t> patterns;
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) patterns.push_back(static_cast<std::uint16_t>(bits));
  const std::vector<float> around_f16 = around_every([](std::uint16_t x) { return f16_to_f32(x); });
  const std::vector<float> around_bf16 = around_every([](std::uint16_t x) { return bf16_to_f32(x); });
  const auto same_f16 = [](std::uint16_t got, std::uint16_t expected) {
    return (expected & 0x7fff) > 0x7c00 ? (got & 0x7fff) > 0x7c00 : got == expected;
  };
  const auto same_bf16 = [](std::uint16_t got, std::uint16_t expected) {
    return (expected & 0x7fff) > 0x7f80 ? (got & 0x7fff) > 0x7f80 : got == expected;
  };
  for_each_policy([&](const SimdPrimitives& w) {
    expect_of_each<std::uint16_t, float>(
        w, "load_f16", w.load_f16, patterns, [](std::uint16_t a) { return f16_to_f32(a); }, same_float);
    expect_of_each<std::uint16_t, float>(
        w, "load_bf16", w.load_bf16, patterns, [](std::uint16_t a) { return bf16_to_f32(a); }, same_float);
    expect_of_each<float, std::uint16_t>(
        w, "store_f16", w.store_f16, around_f16, [](float a) { return f32_to_f16(a); }, same_f16);
    expect_of_each<float, std::uint16_t>(
        w, "store_bf16", w.store_bf16, around_bf16, [](float a) { return f32_to_bf16(a); }, same_bf16);
    expect_of_each<float, float>(
        w, "round_f16", w.round_f16, around_f16, [](float a) { return f16_to_f32(f32_to_f16(a)); }, same_float);
  });
}

TEST(Formats, TwoVectorsOfBf16InOrder) {
  const std::vector<float> values = around_every([](std::uint16_t x) { return bf16_to_f32(x); });
  for_each_policy([&](const SimdPrimitives& w) {
    ASSERT_EQ(w.store_bf16x2 != nullptr, w.has_bf16);
    if (!w.has_bf16) return;
    const auto count = static_cast<std::size_t>(2 * w.lanes);
    std::uint16_t out[2 * kMostLanes];
    for (std::size_t first = 0; first + count <= values.size(); first += count) {
      w.store_bf16x2(&values[first], out);
      for (std::size_t i = 0; i < count; ++i) {
        const float x = values[first + i];
        const std::uint16_t expected = f32_to_bf16(x);
        if (std::isnan(x)) {
          ASSERT_GT(out[i] & 0x7fff, 0x7f80) << i;
        } else if (std::fabs(x) < FLT_MIN) {  // as it comes, or nothing
          ASSERT_TRUE(out[i] == expected || (out[i] & 0x7fff) == 0) << x;
        } else {
          ASSERT_EQ(out[i], expected) << x;
        }
      }
    }
  });
}

// Every code of a format, what lies between it and others, and what saturates.
std::vector<float> around_every_float8(float (*to_f32)(std::uint8_t)) {
  std::vector<float> values = edge_floats();
  for (int code = 0; code < 256; ++code) {
    const float x = to_f32(static_cast<std::uint8_t>(code)), next = to_f32(static_cast<std::uint8_t>(code + 1));
    values.push_back(x);
    if (!std::isfinite(x)) continue;
    for (float y : {next, 2 * x, 1.5f * x, 1.0625f * x}) {
      const float middle = x / 2 + y / 2;
      values.insert(values.end(), {std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 2 * middle)});
    }
  }
  std::mt19937 random(15);
  for (float x : random_floats(20000, 14)) values.push_back(std::ldexp(x, static_cast<int>(random() % 40) - 22));
  return values;
}

// As numbers: whether a zero keeps its sign matters to no product.
TEST(Formats, EightBitFloats) {
  using Primitive = SimdPrimitives::Unary SimdPrimitives::*;
  const auto e4m3 = [](float x) { return e4m3_to_f32(f32_to_e4m3(x)); };
  const auto e5m2 = [](float x) { return e5m2_to_f32(f32_to_e5m2(x)); };
  const auto same_number = [](float got, float expected) {
    return std::isnan(expected) ? std::isnan(got) : got == expected;
  };
  const std::vector<float> near_e4m3 = around_every_float8([](std::uint8_t x) { return e4m3_to_f32(x); });
  const std::vector<float> near_e5m2 = around_every_float8([](std::uint8_t x) { return e5m2_to_f32(x); });
  const auto within = [](const std::vector<float>& values, float most) {
    std::vector<float> kept;
    for (float x : values)
      if (!(std::fabs(x) > most)) kept.push_back(x);  // NaN too
    return kept;
  };
  for_each_policy([&](const SimdPrimitives& w) {
    const auto check = [&](const char* name, Primitive primitive, const std::vector<float>& values,
                           const auto& expected) {
      expect_of_each<float, float>(w, name, w.*primitive, values, expected, same_number);
    };
    check("round_e4m3", &SimdPrimitives::round_e4m3, near_e4m3, e4m3);
    check("round_e5m2", &SimdPrimitives::round_e5m2, near_e5m2, e5m2);
    // Weights: a little beyond the largest number by exp2's error, never more.
    check("round_e4m3_in_range", &SimdPrimitives::round_e4m3_in_range, within(near_e4m3, 448.001f), e4m3);
    check("round_e5m2_in_range", &SimdPrimitives::round_e5m2_in_range, within(near_e5m2, 57344.1f), e5m2);
  });
}

TEST(Formats, Bytes) {
  for_each_policy([&](const SimdPrimitives& w) {
    std::vector<std::int8_t> signed_bytes;
    for (int i = -128; i < 128; ++i) signed_bytes.push_back(static_cast<std::int8_t>(i));
    expect_of_each<std::int8_t, std::int32_t>(
        w, "load_s8", w.load_s8, signed_bytes, [](std::int8_t a) { return std::int32_t{a}; }, same_int);
    std::vector<std::uint8_t> numbers;  // all codes of e4m3 but NaN's
    for (int i = 0; i < 256; ++i) {
      if ((i & 0x7f) != 0x7f) numbers.push_back(static_cast<std::uint8_t>(i));
    }
    expect_of_each<std::uint8_t, float>(
        w, "load_e4m3", w.load_e4m3, numbers, [](std::uint8_t a) { return e4m3_to_f32(a) / 256; }, same_float);
    std::uint8_t codes[2 * kMostLanes];
    float pair[2 * kMostLanes];
    for (std::size_t first = 0; first < numbers.size(); ++first) {
      for (int i = 0; i < 2 * w.lanes; ++i) codes[i] = numbers[(first + static_cast<std::size_t>(i)) % numbers.size()];
      w.load_e4m3_pair(codes, pair);
      for (int i = 0; i < 2 * w.lanes; ++i) ASSERT_EQ(pair[i], e4m3_to_f32(codes[i]) / 256) << int{codes[i]};
    }
    const int count = 4 * w.lanes;
    std::int32_t in[4 * kMostLanes];
    std::uint8_t out[4 * kMostLanes];
    for (int first = 0; first < 256; ++first) {
      for (int i = 0; i < count; ++i) in[i] = (first + 37 * i) % 256;
      w.store_u8x4(in, out);
      for (int i = 0; i < count; ++i) ASSERT_EQ(out[i], in[i]) << "byte " << i;
      for (int i = 0; i < count; ++i) in[i] -= 128;
      w.store_s8x4(in, out);
      for (int i = 0; i < count; ++i) ASSERT_EQ(static_cast<std::int8_t>(out[i]), in[i]) << "byte " << i;
    }
  });
}

}  // namespace
}  // namespace octavo::cpu
