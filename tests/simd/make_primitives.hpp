// The table of one policy's primitives, for the one translation unit that has its flags.
#pragma once

#include "cpu/operands/float8.hpp"
#include "cpu/simd/exp2.hpp"
#include "primitives.hpp"

namespace octavo::cpu {
namespace {

OCTAVO_INLINE const float* floats(const void* p) { return static_cast<const float*>(p); }
OCTAVO_INLINE const std::int32_t* ints(const void* p) { return static_cast<const std::int32_t*>(p); }

// Primitive: an empty class with a static `of`, so that always-inline primitives are called and never pointed at.
template <class S, class Primitive>
void f32_to_f32(const void* a, void* out) {
  S::store(static_cast<float*>(out), Primitive::of(S::load(floats(a))));
}
template <class S, class Primitive>
void two_f32(const void* a, const void* b, void* out) {
  S::store(static_cast<float*>(out), Primitive::of(S::load(floats(a)), S::load(floats(b))));
}
template <class S, class Primitive>
void three_f32(const void* a, const void* b, const void* c, void* out) {
  S::store(static_cast<float*>(out), Primitive::of(S::load(floats(a)), S::load(floats(b)), S::load(floats(c))));
}
template <class S, class Primitive>
void s32_to_s32(const void* a, void* out) {
  S::store(static_cast<std::int32_t*>(out), Primitive::of(S::load(ints(a))));
}
template <class S, class Primitive>
void two_s32(const void* a, const void* b, void* out) {
  S::store(static_cast<std::int32_t*>(out), Primitive::of(S::load(ints(a)), S::load(ints(b))));
}
template <class S, class Primitive>
void three_s32(const void* a, const void* b, const void* c, void* out) {
  S::store(static_cast<std::int32_t*>(out), Primitive::of(S::load(ints(a)), S::load(ints(b)), S::load(ints(c))));
}

#define OCTAVO_WORD(Name, parameters, expression)           \
  template <class S>                                        \
  struct Name {                                             \
    using f32 = typename S::f32;                            \
    using s32 = typename S::s32;                            \
    OCTAVO_INLINE auto of parameters { return expression; } \
  };

OCTAVO_WORD(Copy, (f32 a), a)
OCTAVO_WORD(CopyS32, (s32 a), a)
OCTAVO_WORD(Abs, (f32 a), S::abs(a))
OCTAVO_WORD(Add, (f32 a, f32 b), S::add(a, b))
OCTAVO_WORD(Sub, (f32 a, f32 b), S::sub(a, b))
OCTAVO_WORD(Mul, (f32 a, f32 b), S::mul(a, b))
OCTAVO_WORD(Div, (f32 a, f32 b), S::div(a, b))
OCTAVO_WORD(Max, (f32 a, f32 b), S::max(a, b))
OCTAVO_WORD(Min, (f32 a, f32 b), S::min(a, b))
OCTAVO_WORD(Fraction, (f32 a), S::fraction(a))
OCTAVO_WORD(TimesExp2, (f32 a, f32 b), S::times_exp2(a, b))
OCTAVO_WORD(TimesExp2Where, (f32 a, f32 b, f32 c), S::times_exp2(S::not_less(b, c), a, b))
OCTAVO_WORD(Fma, (f32 a, f32 b, f32 c), S::fma(a, b, c))
OCTAVO_WORD(AddS32, (s32 a, s32 b), S::add_s32(a, b))
OCTAVO_WORD(MaxS32, (s32 a, s32 b), S::max_s32(a, b))
OCTAVO_WORD(AndS32, (s32 a, s32 b), S::and_s32(a, b))
OCTAVO_WORD(OrS32, (s32 a, s32 b), S::or_s32(a, b))
OCTAVO_WORD(XorS32, (s32 a, s32 b), S::xor_s32(a, b))
OCTAVO_WORD(Left1, (s32 a), S::template shift_left<1>(a))
OCTAVO_WORD(Left8, (s32 a), S::template shift_left<8>(a))
OCTAVO_WORD(Left16, (s32 a), S::template shift_left<16>(a))
OCTAVO_WORD(Left23, (s32 a), S::template shift_left<23>(a))
OCTAVO_WORD(Left24, (s32 a), S::template shift_left<24>(a))
OCTAVO_WORD(Right1, (s32 a), S::template shift_right<1>(a))
OCTAVO_WORD(Right16, (s32 a), S::template shift_right<16>(a))
OCTAVO_WORD(Right23, (s32 a), S::template shift_right<23>(a))
OCTAVO_WORD(Right31, (s32 a), S::template shift_right<31>(a))
OCTAVO_WORD(SelectLess, (f32 a, f32 b, f32 c), S::select(S::less(a, b), a, c))
OCTAVO_WORD(SelectEqual, (f32 a, f32 b, f32 c), S::select(S::equal(a, b), a, c))
OCTAVO_WORD(SelectFinite, (f32 a, f32, f32 c), S::select(S::is_finite(a), a, c))
OCTAVO_WORD(RoundF16, (f32 a), S::round_f16(a))
OCTAVO_WORD(DotKey, (s32 acc, s32 a, s32 b), S::dot_key(acc, a, b))
OCTAVO_WORD(DotValue, (s32 acc, s32 a, s32 b), S::dot_value(acc, a, b))
OCTAVO_WORD(EvenBytes, (s32 a), S::even_bytes(a))
OCTAVO_WORD(OddBytes, (s32 a), S::odd_bytes(a))
OCTAVO_WORD(EvenNibbles, (s32 a), S::even_nibbles(a))
OCTAVO_WORD(OddNibbles, (s32 a), S::odd_nibbles(a))
OCTAVO_WORD(DotBytes, (s32 acc, s32 a, s32 b), S::dot_bytes(acc, a, b))
OCTAVO_WORD(WidenSums, (s32 a), S::widen_sums(a))
OCTAVO_WORD(DotPairs, (s32 acc, s32 a, s32 b), S::dot_pairs(acc, a, b))
OCTAVO_WORD(Exp2Quintic, (f32 a), exp2_quintic<S>(a))
OCTAVO_WORD(Log2, (f32 a), log2<S>(a))
OCTAVO_WORD(RoundE4m3, (f32 a), round_e4m3<S>(a))
OCTAVO_WORD(RoundE5m2, (f32 a), round_e5m2<S>(a))
OCTAVO_WORD(RoundE4m3InRange, (f32 a), round_e4m3_in_range<S>(a))
OCTAVO_WORD(RoundE5m2InRange, (f32 a), round_e5m2_in_range<S>(a))
#undef OCTAVO_WORD

// 2^x, exactly 0 below 2^-126.
template <class S>
struct Exp2From {
  using f32 = typename S::f32;
  OCTAVO_INLINE f32 of(f32 a) {
    f32 several[2] = {S::set1(0.0f), a}, c[6];
    for (int i = 0; i < 6; ++i) c[i] = S::set1(S::Exp2::kQuintic[i]);
    exp2_from<S>(several, S::set1(-126.0f), c);
    return several[1];
  }
};

// The kernels take weights' exponentials several vectors at a time.
template <class S>
struct Exp2Quartic {
  using f32 = typename S::f32;
  OCTAVO_INLINE f32 of(f32 a) {
    f32 several[2] = {S::set1(0.0f), a};
    exp2_with<S>(several, S::Exp2::kQuartic);
    return several[1];
  }
};

// A policy whose products take every code has no other primitives for them.
template <class S>
struct DotEveryKey {
  using s32 = typename S::s32;
  OCTAVO_INLINE s32 of(s32 acc, s32 a, s32 b) {
    if constexpr (S::kFullRangeS8)
      return S::dot_key(acc, a, b);
    else
      return S::dot_full_range_key(acc, a, b);
  }
};
template <class S>
struct DotEveryValue {
  using s32 = typename S::s32;
  OCTAVO_INLINE s32 of(s32 acc, s32 a, s32 b) {
    if constexpr (S::kFullRangeS8)
      return S::dot_value(acc, a, b);
    else
      return S::dot_full_range_value(acc, a, b);
  }
};

template <class S, int kDistance>
void swap_word(const void* a, void* out) {
  S::store(static_cast<float*>(out), S::template swap<kDistance>(S::load(floats(a))));
}
template <class S, int kDistance>
void butterfly_word(const void* a, void* out) {
  S::store(static_cast<float*>(out), S::template butterfly<kDistance>(S::load(floats(a))));
}
template <class S, int kDistance>
constexpr SimdPrimitives::Unary swap_or_null() {
  if constexpr (kDistance < S::kLanes)
    return swap_word<S, kDistance>;
  else
    return nullptr;
}
template <class S, int kDistance>
constexpr SimdPrimitives::Unary butterfly_or_null() {
  if constexpr (kDistance < S::kLanes)
    return butterfly_word<S, kDistance>;
  else
    return nullptr;
}
template <class S>
constexpr SimdPrimitives::Ternary dot_bf16_or_null() {
  if constexpr (S::kHasBf16)
    return [](const void* acc, const void* a, const void* b, void* out) {
      S::store(static_cast<float*>(out), S::dot_bf16(S::load(floats(acc)), S::load(ints(a)), S::load(ints(b))));
    };
  else
    return nullptr;
}

template <class S>
constexpr SimdPrimitives::Unary store_bf16x2_or_null() {
  if constexpr (S::kHasBf16)
    return [](const void* a, void* out) {
      S::store_bf16x2(static_cast<std::uint16_t*>(out), S::load(floats(a)), S::load(floats(a) + S::kLanes));
    };
  else
    return nullptr;
}

// The primitives of tiles, for tile kTile and those after it.
template <class S, int kTile = 0>
constexpr void add_tile_primitives(SimdPrimitives& w) {
  if constexpr (S::kHasTiles && kTile < SimdPrimitives::kTiles) {
    constexpr std::ptrdiff_t kRow = 64, kBytes = 16 * kRow;
    constexpr int kA = (kTile + 1) % SimdPrimitives::kTiles, kB = (kTile + 2) % SimdPrimitives::kTiles;
    w.tile_copy[kTile] = [](const void* from, std::ptrdiff_t from_stride, void* to, std::ptrdiff_t to_stride) {
      S::open_tiles();
      S::template tile_load<kTile>(from, from_stride);
      S::template tile_store<kTile>(to, to_stride);
      S::close_tiles();
    };
    w.tile_zero[kTile] = [](const void* from, void* to) {
      const auto* read = static_cast<const std::uint8_t*>(from);
      auto* written = static_cast<std::uint8_t*>(to);
      S::open_tiles();
      S::template tile_load<0>(read, kRow), S::template tile_load<1>(read + kBytes, kRow);
      S::template tile_load<2>(read + 2 * kBytes, kRow), S::template tile_load<3>(read + 3 * kBytes, kRow);
      S::template tile_load<4>(read + 4 * kBytes, kRow), S::template tile_load<5>(read + 5 * kBytes, kRow);
      S::template tile_load<6>(read + 6 * kBytes, kRow), S::template tile_load<7>(read + 7 * kBytes, kRow);
      S::template tile_zero<kTile>();
      S::template tile_store<0>(written, kRow), S::template tile_store<1>(written + kBytes, kRow);
      S::template tile_store<2>(written + 2 * kBytes, kRow), S::template tile_store<3>(written + 3 * kBytes, kRow);
      S::template tile_store<4>(written + 4 * kBytes, kRow), S::template tile_store<5>(written + 5 * kBytes, kRow);
      S::template tile_store<6>(written + 6 * kBytes, kRow), S::template tile_store<7>(written + 7 * kBytes, kRow);
      S::close_tiles();
    };
    w.tile_keys[kTile] = [](const void* a, const void* b, void* c) {
      S::open_tiles();
      S::template tile_load<kTile>(c, kRow), S::template tile_load<kA>(a, kRow), S::template tile_load<kB>(b, kRow);
      S::template dot_tile_keys<kTile, kA, kB>();
      S::template tile_store<kTile>(c, kRow);
      S::close_tiles();
    };
    w.tile_values[kTile] = [](const void* a, const void* b, void* c) {
      S::open_tiles();
      S::template tile_load<kTile>(c, kRow), S::template tile_load<kA>(a, kRow), S::template tile_load<kB>(b, kRow);
      S::template dot_tile_values<kTile, kA, kB>();
      S::template tile_store<kTile>(c, kRow);
      S::close_tiles();
    };
    add_tile_primitives<S, kTile + 1>(w);
  }
}

template <class S>
constexpr SimdPrimitives make_primitives(const char* name, bool fma_rounds_once = true) {
  SimdPrimitives w{};
  w.name = name;
  w.lanes = S::kLanes, w.tile_rows = S::kTileRows, w.tile_columns = S::kTileColumns;
  w.key_bias = S::kKeyBias, w.weight_bias = S::kWeightBias;
  w.has_bf16 = S::kHasBf16, w.fma_rounds_once = fma_rounds_once;
  w.copy_f32 = f32_to_f32<S, Copy<S>>, w.abs = f32_to_f32<S, Abs<S>>;
  w.repeat_f32 = [](const void* a, void* out) { S::store(static_cast<float*>(out), S::set1(*floats(a))); };
  w.add = two_f32<S, Add<S>>, w.sub = two_f32<S, Sub<S>>, w.mul = two_f32<S, Mul<S>>, w.div = two_f32<S, Div<S>>;
  w.max = two_f32<S, Max<S>>, w.min = two_f32<S, Min<S>>, w.fma = three_f32<S, Fma<S>>;
  w.lane_index = [](void* out) { S::store(static_cast<float*>(out), S::lane_index()); };
  w.copy_s32 = s32_to_s32<S, CopyS32<S>>;
  w.repeat_s32 = [](const void* a, void* out) { S::store(static_cast<std::int32_t*>(out), S::set1(*ints(a))); };
  w.fraction = f32_to_f32<S, Fraction<S>>, w.times_exp2 = two_f32<S, TimesExp2<S>>;
  w.times_exp2_where = three_f32<S, TimesExp2Where<S>>;
  w.exp2_floors = S::Exp2::kFirst == 0, w.exp2_from = f32_to_f32<S, Exp2From<S>>;
  w.max_s32 = two_s32<S, MaxS32<S>>;
  w.add_s32 = two_s32<S, AddS32<S>>, w.and_s32 = two_s32<S, AndS32<S>>;
  w.or_s32 = two_s32<S, OrS32<S>>, w.xor_s32 = two_s32<S, XorS32<S>>;
  w.shift_left_1 = s32_to_s32<S, Left1<S>>, w.shift_left_8 = s32_to_s32<S, Left8<S>>;
  w.shift_left_16 = s32_to_s32<S, Left16<S>>, w.shift_left_23 = s32_to_s32<S, Left23<S>>;
  w.shift_left_24 = s32_to_s32<S, Left24<S>>;
  w.shift_right_1 = s32_to_s32<S, Right1<S>>, w.shift_right_16 = s32_to_s32<S, Right16<S>>;
  w.shift_right_23 = s32_to_s32<S, Right23<S>>, w.shift_right_31 = s32_to_s32<S, Right31<S>>;
  w.round_to_s32 = [](const void* a, void* out) {
    S::store(static_cast<std::int32_t*>(out), S::round_to_s32(S::load(floats(a))));
  };
  w.to_f32 = [](const void* a, void* out) { S::store(static_cast<float*>(out), S::to_f32(S::load(ints(a)))); };
  w.bits = [](const void* a, void* out) { S::store(static_cast<std::int32_t*>(out), S::bits(S::load(floats(a)))); };
  w.from_bits = [](const void* a, void* out) { S::store(static_cast<float*>(out), S::from_bits(S::load(ints(a)))); };
  w.select_less = three_f32<S, SelectLess<S>>, w.select_equal = three_f32<S, SelectEqual<S>>;
  w.select_finite = three_f32<S, SelectFinite<S>>;
  w.all_equal = [](const void* a, const void* b) {
    return static_cast<bool>(S::all(S::equal(S::load(floats(a)), S::load(floats(b)))));
  };
  w.load_f16 = [](const void* a, void* out) {
    S::store(static_cast<float*>(out), S::load_f16(static_cast<const std::uint16_t*>(a)));
  };
  w.load_bf16 = [](const void* a, void* out) {
    S::store(static_cast<float*>(out), S::load_bf16(static_cast<const std::uint16_t*>(a)));
  };
  w.store_f16 = [](const void* a, void* out) { S::store_f16(static_cast<std::uint16_t*>(out), S::load(floats(a))); };
  w.store_bf16 = [](const void* a, void* out) { S::store_bf16(static_cast<std::uint16_t*>(out), S::load(floats(a))); };
  w.round_f16 = f32_to_f32<S, RoundF16<S>>;
  w.load_s8 = [](const void* a, void* out) {
    S::store(static_cast<std::int32_t*>(out), S::load_s8(static_cast<const std::int8_t*>(a)));
  };
  w.load_e4m3_pair = [](const void* a, void* out) {
    typename S::f32 x, y;
    const auto* from = static_cast<const std::uint8_t*>(a);
    S::load_e4m3_pair(from, from + S::kLanes, x, y);
    S::store(static_cast<float*>(out), x);
    S::store(static_cast<float*>(out) + S::kLanes, y);
  };
  w.load_e4m3 = [](const void* a, void* out) {
    S::store(static_cast<float*>(out), S::load_e4m3(static_cast<const std::uint8_t*>(a)));
  };
  w.store_u8x4 = [](const void* a, void* out) {
    S::store_u8x4(static_cast<std::uint8_t*>(out), S::load(ints(a)), S::load(ints(a) + S::kLanes),
                  S::load(ints(a) + 2 * S::kLanes), S::load(ints(a) + 3 * S::kLanes));
  };
  w.store_s8x4 = [](const void* a, void* out) {
    S::store_s8x4(static_cast<std::int8_t*>(out), S::load(ints(a)), S::load(ints(a) + S::kLanes),
                  S::load(ints(a) + 2 * S::kLanes), S::load(ints(a) + 3 * S::kLanes));
  };
  w.swap[0] = swap_or_null<S, 1>(), w.swap[1] = swap_or_null<S, 2>();
  w.swap[2] = swap_or_null<S, 4>(), w.swap[3] = swap_or_null<S, 8>();
  w.butterfly[0] = butterfly_or_null<S, 1>(), w.butterfly[1] = butterfly_or_null<S, 2>();
  w.butterfly[2] = butterfly_or_null<S, 4>(), w.butterfly[3] = butterfly_or_null<S, 8>();
  w.transpose = [](const std::int32_t* from, std::ptrdiff_t from_ld, std::int32_t* to, std::ptrdiff_t to_ld) {
    S::transpose(from, from_ld, to, to_ld);
  };
  w.row_max = [](const void* a, void* out) { S::store(static_cast<float*>(out), S::row_max(floats(a))); };
  w.row_sum = [](const void* a, void* out) { S::store(static_cast<float*>(out), S::row_sum(floats(a))); };
  w.reduce_max = [](const void* a) -> float { return S::reduce_max(S::load(floats(a))); };
  w.reduce_add = [](const void* a) -> float { return S::reduce_add(S::load(floats(a))); };
  if constexpr (!S::kHasTiles) {
    w.dot_key = three_s32<S, DotKey<S>>, w.dot_value = three_s32<S, DotValue<S>>;
    w.dot_full_range_key = three_s32<S, DotEveryKey<S>>, w.dot_full_range_value = three_s32<S, DotEveryValue<S>>;
  }
  w.even_bytes = s32_to_s32<S, EvenBytes<S>>, w.odd_bytes = s32_to_s32<S, OddBytes<S>>;
  w.even_nibbles = s32_to_s32<S, EvenNibbles<S>>, w.odd_nibbles = s32_to_s32<S, OddNibbles<S>>;
  w.dot_bytes = three_s32<S, DotBytes<S>>, w.widen_sums = s32_to_s32<S, WidenSums<S>>;
  w.dot_pairs = three_s32<S, DotPairs<S>>;
  w.dot_bf16 = dot_bf16_or_null<S>(), w.store_bf16x2 = store_bf16x2_or_null<S>();
  add_tile_primitives<S>(w);
  w.exp2_quartic = f32_to_f32<S, Exp2Quartic<S>>, w.exp2_quintic = f32_to_f32<S, Exp2Quintic<S>>;
  w.log2 = f32_to_f32<S, Log2<S>>;
  w.round_e4m3 = f32_to_f32<S, RoundE4m3<S>>, w.round_e5m2 = f32_to_f32<S, RoundE5m2<S>>;
  w.round_e4m3_in_range = f32_to_f32<S, RoundE4m3InRange<S>>;
  w.round_e5m2_in_range = f32_to_f32<S, RoundE5m2InRange<S>>;
  return w;
}

}  // namespace
}  // namespace octavo::cpu
