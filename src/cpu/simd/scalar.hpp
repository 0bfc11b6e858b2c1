// The primitives in portable C++, four lanes as an array: what runs where nothing better does, and what the other
// policies are tested against.
#pragma once

#include <cstring>

#include "core/float_types.hpp"
#include "cpu/simd/policy.hpp"
#include "spec/scale.hpp"

namespace octavo::cpu {
namespace {

struct Scalar {
  static constexpr int kLanes = 4, kTileRows = 4, kTileColumns = 2, kFloatTileRows = 4;
  static constexpr int kKeyBias = 0, kWeightBias = 0;
  static constexpr bool kHasBf16 = false;
  static constexpr bool kHasTiles = false;
  static constexpr bool kFullRangeS8 = true;
  static constexpr bool kOverlapsWeights = false;
  struct f32 {
    float lane[kLanes];
  };
  struct s32 {
    std::int32_t lane[kLanes];
  };
  struct mask {
    bool lane[kLanes];
  };

  // One result lane from the same lane of each argument.
  template <class Out, class Op, class... In>
  OCTAVO_INLINE Out map(Op op, const In&... in) {
    Out out;
    for (int i = 0; i < kLanes; ++i) out.lane[i] = op(in.lane[i]...);
    return out;
  }

  template <class T>
  OCTAVO_INLINE T load_lanes(const void* p) {
    T x;
    std::memcpy(&x, p, sizeof(x));
    return x;
  }
  OCTAVO_INLINE f32 load(const float* p) { return load_lanes<f32>(p); }
  OCTAVO_INLINE s32 load(const std::int32_t* p) { return load_lanes<s32>(p); }
  OCTAVO_INLINE void store(float* p, f32 x) { std::memcpy(p, &x, sizeof(x)); }
  OCTAVO_INLINE void store(std::int32_t* p, s32 x) { std::memcpy(p, &x, sizeof(x)); }
  OCTAVO_INLINE f32 set1(float x) { return {{x, x, x, x}}; }
  OCTAVO_INLINE s32 set1(std::int32_t x) { return {{x, x, x, x}}; }
  OCTAVO_INLINE f32 add(f32 a, f32 b) {
    return map<f32>([](float x, float y) { return x + y; }, a, b);
  }
  OCTAVO_INLINE f32 sub(f32 a, f32 b) {
    return map<f32>([](float x, float y) { return x - y; }, a, b);
  }
  OCTAVO_INLINE f32 mul(f32 a, f32 b) {
    return map<f32>([](float x, float y) { return x * y; }, a, b);
  }
  OCTAVO_INLINE f32 div(f32 a, f32 b) {
    return map<f32>([](float x, float y) { return x / y; }, a, b);
  }
  OCTAVO_INLINE f32 max(f32 a, f32 b) {
    return map<f32>([](float x, float y) { return x > y ? x : y; }, a, b);
  }
  OCTAVO_INLINE f32 min(f32 a, f32 b) {
    return map<f32>([](float x, float y) { return x < y ? x : y; }, a, b);
  }
  // The product of two floats is exact in double; the one double rounding that is left changes no specified result.
  OCTAVO_INLINE f32 fma(f32 a, f32 b, f32 c) {
    return map<f32>(
        [](float x, float y, float z) {
          return static_cast<float>(static_cast<double>(x) * static_cast<double>(y) + static_cast<double>(z));
        },
        a, b, c);
  }
  OCTAVO_INLINE s32 round_to_s32(f32 x) {
    return map<s32>([](float v) { return static_cast<std::int32_t>(spec::round_half_even(v)); }, x);
  }
  OCTAVO_INLINE f32 to_f32(s32 x) {
    return map<f32>([](std::int32_t v) { return static_cast<float>(v); }, x);
  }
  OCTAVO_INLINE s32 bits(f32 x) { return __builtin_bit_cast(s32, x); }
  OCTAVO_INLINE f32 from_bits(s32 x) { return __builtin_bit_cast(f32, x); }
  OCTAVO_INLINE std::uint32_t u32(std::int32_t x) { return static_cast<std::uint32_t>(x); }
  OCTAVO_INLINE s32 add_s32(s32 a, s32 b) {
    return map<s32>([](std::int32_t x, std::int32_t y) { return static_cast<std::int32_t>(u32(x) + u32(y)); }, a, b);
  }
  OCTAVO_INLINE s32 max_s32(s32 a, s32 b) {
    return map<s32>([](std::int32_t x, std::int32_t y) { return x > y ? x : y; }, a, b);
  }
  OCTAVO_INLINE s32 and_s32(s32 a, s32 b) {
    return map<s32>([](std::int32_t x, std::int32_t y) { return x & y; }, a, b);
  }
  OCTAVO_INLINE s32 or_s32(s32 a, s32 b) {
    return map<s32>([](std::int32_t x, std::int32_t y) { return x | y; }, a, b);
  }
  OCTAVO_INLINE s32 xor_s32(s32 a, s32 b) {
    return map<s32>([](std::int32_t x, std::int32_t y) { return x ^ y; }, a, b);
  }
  template <int kBits>
  OCTAVO_INLINE s32 shift_left(s32 a) {
    return map<s32>([](std::int32_t x) { return static_cast<std::int32_t>(u32(x) << kBits); }, a);
  }
  template <int kBits>
  OCTAVO_INLINE s32 shift_right(s32 a) {
    return map<s32>([](std::int32_t x) { return static_cast<std::int32_t>(u32(x) >> kBits); }, a);
  }
  // As on 256 bits: 1.5 * 2^23 leaves the nearest integer in the low bits.
  using Exp2 = spec::Exp2Nearest;
  OCTAVO_INLINE f32 fraction(f32 x) { return sub(x, sub(add(x, set1(12582912.0f)), set1(12582912.0f))); }
  OCTAVO_INLINE f32 times_exp2(f32 p, f32 x) {
    return from_bits(add_s32(bits(p), shift_left<23>(bits(add(x, set1(12582912.0f))))));
  }
  OCTAVO_INLINE f32 times_exp2(mask keep, f32 p, f32 x) { return select(keep, times_exp2(p, x), set1(0.0f)); }
  OCTAVO_INLINE f32 abs(f32 x) { return from_bits(and_s32(bits(x), set1(0x7fffffff))); }
  OCTAVO_INLINE mask less(f32 a, f32 b) {
    return map<mask>([](float x, float y) { return x < y; }, a, b);
  }
  OCTAVO_INLINE mask not_less(f32 a, f32 b) {
    return map<mask>([](float x, float y) { return !(x < y); }, a, b);
  }
  OCTAVO_INLINE mask equal(f32 a, f32 b) {
    return map<mask>([](float x, float y) { return x == y; }, a, b);
  }
  OCTAVO_INLINE mask is_finite(f32 x) {
    return map<mask>([](float v) { return octavo::is_finite(v); }, x);
  }
  OCTAVO_INLINE bool all(mask m) { return m.lane[0] && m.lane[1] && m.lane[2] && m.lane[3]; }
  OCTAVO_INLINE f32 select(mask m, f32 a, f32 b) {
    return map<f32>([](bool c, float x, float y) { return c ? x : y; }, m, a, b);
  }
  OCTAVO_INLINE f32 lane_index() { return {{0, 1, 2, 3}}; }

  OCTAVO_INLINE f32 load_f16(const std::uint16_t* p) {
    return {{f16_to_f32(p[0]), f16_to_f32(p[1]), f16_to_f32(p[2]), f16_to_f32(p[3])}};
  }
  OCTAVO_INLINE f32 load_bf16(const std::uint16_t* p) {
    return {{bf16_to_f32(p[0]), bf16_to_f32(p[1]), bf16_to_f32(p[2]), bf16_to_f32(p[3])}};
  }
  OCTAVO_INLINE void store_f16(std::uint16_t* p, f32 x) {
    for (int i = 0; i < kLanes; ++i) p[i] = f32_to_f16(x.lane[i]);
  }
  OCTAVO_INLINE void store_bf16(std::uint16_t* p, f32 x) {
    for (int i = 0; i < kLanes; ++i) p[i] = f32_to_bf16(x.lane[i]);
  }
  OCTAVO_INLINE f32 round_f16(f32 x) {
    return map<f32>([](float v) { return f16_to_f32(f32_to_f16(v)); }, x);
  }

  OCTAVO_INLINE float e4m3_number(std::uint8_t x) {
    return f16_to_f32(static_cast<std::uint16_t>((x & 0x80) << 8 | (x & 0x7f) << 7));
  }
  OCTAVO_INLINE f32 load_e4m3(const std::uint8_t* p) {
    return {{e4m3_number(p[0]), e4m3_number(p[1]), e4m3_number(p[2]), e4m3_number(p[3])}};
  }
  OCTAVO_INLINE void load_e4m3_pair(const std::uint8_t* a, const std::uint8_t* b, f32& x, f32& y) {
    x = load_e4m3(a), y = load_e4m3(b);
  }
  OCTAVO_INLINE s32 load_s8(const std::int8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  template <class Byte>
  OCTAVO_INLINE void store_bytes(Byte* p, s32 a, s32 b, s32 c, s32 d) {
    for (int i = 0; i < kLanes; ++i) {
      p[i] = static_cast<Byte>(a.lane[i]);
      p[kLanes + i] = static_cast<Byte>(b.lane[i]);
      p[2 * kLanes + i] = static_cast<Byte>(c.lane[i]);
      p[3 * kLanes + i] = static_cast<Byte>(d.lane[i]);
    }
  }
  OCTAVO_INLINE void store_u8x4(std::uint8_t* p, s32 a, s32 b, s32 c, s32 d) { store_bytes(p, a, b, c, d); }
  OCTAVO_INLINE void store_s8x4(std::int8_t* p, s32 a, s32 b, s32 c, s32 d) { store_bytes(p, a, b, c, d); }

  template <int kDistance>
  OCTAVO_INLINE f32 swap(f32 x) {
    f32 out;
    for (int i = 0; i < kLanes; ++i) out.lane[i] = x.lane[i ^ kDistance];
    return out;
  }
  template <int kDistance>
  OCTAVO_INLINE f32 butterfly(f32 x) {
    f32 out;
    for (int i = 0; i < kLanes; ++i) {
      const float other = x.lane[i ^ kDistance];
      out.lane[i] = (i & kDistance) == 0 ? x.lane[i] + other : other - x.lane[i];
    }
    return out;
  }

  OCTAVO_INLINE void transpose(const std::int32_t* from, std::ptrdiff_t from_ld, std::int32_t* to,
                               std::ptrdiff_t to_ld) {
    for (int i = 0; i < kLanes; ++i)
      for (int j = 0; j < kLanes; ++j) to[j * to_ld + i] = from[i * from_ld + j];
  }
  OCTAVO_INLINE f32 row_max(const float* rows) {
    f32 out;
    for (int i = 0; i < kLanes; ++i) out.lane[i] = reduce_max(load(rows + i * kLanes));
    return out;
  }
  OCTAVO_INLINE f32 row_sum(const float* rows) {
    f32 out;
    for (int i = 0; i < kLanes; ++i) out.lane[i] = reduce_add(load(rows + i * kLanes));
    return out;
  }
  OCTAVO_INLINE float reduce_max(f32 x) {
    float best = x.lane[0];
    for (int i = 1; i < kLanes; ++i) best = best > x.lane[i] ? best : x.lane[i];
    return best;
  }
  OCTAVO_INLINE float reduce_add(f32 x) { return (x.lane[0] + x.lane[2]) + (x.lane[1] + x.lane[3]); }

  template <class A, class B>
  OCTAVO_INLINE s32 dot_bytes(s32 acc, s32 a, s32 b) {
    struct Bytes {
      A a[4 * kLanes];
    };
    struct OtherBytes {
      B b[4 * kLanes];
    };
    const auto x = __builtin_bit_cast(Bytes, a);
    const auto y = __builtin_bit_cast(OtherBytes, b);
    for (int i = 0; i < 4 * kLanes; ++i) acc.lane[i / 4] += x.a[i] * y.b[i];
    return acc;
  }
  OCTAVO_INLINE s32 dot_key(s32 acc, s32 a, s32 b) { return dot_bytes<std::int8_t, std::int8_t>(acc, a, b); }
  OCTAVO_INLINE s32 dot_value(s32 acc, s32 a, s32 b) { return dot_bytes<std::uint8_t, std::int8_t>(acc, a, b); }

  // Bytes kFirst and kFirst + 2 of a word as two s16.
  template <int kFirst>
  OCTAVO_INLINE s32 widened_bytes(s32 x) {
    return map<s32>(
        [](std::int32_t word) {
          std::int8_t byte[4];
          std::memcpy(byte, &word, 4);
          const std::int16_t pair[2] = {byte[kFirst], byte[kFirst + 2]};
          std::int32_t out;
          std::memcpy(&out, pair, 4);
          return out;
        },
        x);
  }
  OCTAVO_INLINE s32 even_bytes(s32 x) { return widened_bytes<0>(x); }
  OCTAVO_INLINE s32 odd_bytes(s32 x) { return widened_bytes<1>(x); }
  OCTAVO_INLINE s32 even_nibbles(s32 x) {
    return map<s32>(
        [](std::int32_t word) {
          const std::uint32_t biased = (u32(word) & 0x0f0f0f0fu) ^ 0x08080808u;  // 0 to 15 for -8 to 7
          return static_cast<std::int32_t>(((biased | 0x80808080u) - 0x08080808u) ^ 0x80808080u);
        },
        x);
  }
  OCTAVO_INLINE s32 odd_nibbles(s32 x) { return even_nibbles(shift_right<4>(x)); }
  OCTAVO_INLINE s32 dot_bytes(s32 acc, s32 a, s32 b) {
    return map<s32>(
        [](std::int32_t sum, std::int32_t x, std::int32_t y) {
          for (int i = 0; i < 4; ++i)
            sum += static_cast<std::uint8_t>(u32(x) >> (8 * i)) * static_cast<std::int8_t>(u32(y) >> (8 * i));
          return sum;
        },
        acc, a, b);
  }
  OCTAVO_INLINE s32 widen_sums(s32 acc) { return acc; }
  OCTAVO_INLINE s32 dot_pairs(s32 acc, s32 a, s32 b) {
    return map<s32>(
        [](std::int32_t sum, std::int32_t x, std::int32_t y) {
          std::int16_t p[2], q[2];
          std::memcpy(p, &x, 4);
          std::memcpy(q, &y, 4);
          return static_cast<std::int32_t>(u32(sum) + u32(p[0] * q[0]) + u32(p[1] * q[1]));
        },
        acc, a, b);
  }
};

}  // namespace
}  // namespace octavo::cpu
