// The register tile under both products: rows of words against a matrix of words.
//   A [rows][steps] words, B [steps][columns] words -> C [rows][columns] of 32 bits
// A word is 32 bits of consecutive operand elements along the contracted axis (4 codes of 8 bits, 2 of bf16, 1 float);
// the Kind says which product it is. A is read one word at a time and repeated, B a vector at a time.
#pragma once

#include <type_traits>

#include "cpu/operands/tile_config.hpp"
#include "cpu/simd/policy.hpp"

namespace octavo::cpu {
namespace {

// s8 queries x key codes. Sums start at a number per query row, which cancels a bias of the key codes.
template <class S>
struct FullRangeKeyCodes;
template <class S>
struct KeyCodes {
  using FullRange = FullRangeKeyCodes<S>;
  using sum = typename S::s32;
  OCTAVO_INLINE sum start(const std::int32_t* starts, std::int64_t row) { return S::set1(starts[row]); }
  OCTAVO_INLINE sum step(sum acc, typename S::s32 a, typename S::s32 b) { return S::dot_key(acc, a, b); }
  OCTAVO_INLINE typename S::f32 to_float(sum x) { return S::to_f32(x); }
};
// u8 weights x s8 values. Sums start at a number per value column where the policy's product biases the weights.
template <class S>
struct FullRangeValueCodes;
template <class S>
struct ValueCodes {
  using FullRange = FullRangeValueCodes<S>;
  using sum = typename S::s32;
  OCTAVO_INLINE sum start(const std::int32_t* starts, std::int64_t column) {
    if constexpr (S::kWeightBias != 0) return S::load(starts + column);
    return S::set1(0);
  }
  OCTAVO_INLINE sum step(sum acc, typename S::s32 a, typename S::s32 b) { return S::dot_value(acc, a, b); }
  OCTAVO_INLINE typename S::f32 to_float(sum x) { return S::to_f32(x); }
};
// The same where a code may be -128 and the policy's fastest product cannot take it.
template <class S>
struct FullRangeKeyCodes : KeyCodes<S> {
  using sum = typename S::s32;
  OCTAVO_INLINE sum step(sum acc, typename S::s32 a, typename S::s32 b) { return S::dot_full_range_key(acc, a, b); }
};
template <class S>
struct FullRangeValueCodes : ValueCodes<S> {
  using sum = typename S::s32;
  OCTAVO_INLINE sum step(sum acc, typename S::s32 a, typename S::s32 b) { return S::dot_full_range_value(acc, a, b); }
};
template <class S>
struct Floats {
  using FullRange = Floats;
  using sum = typename S::f32;
  OCTAVO_INLINE sum start(const std::int32_t*, std::int64_t) { return S::set1(0.0f); }
  OCTAVO_INLINE sum step(sum acc, typename S::s32 a, typename S::s32 b) {
    return S::fma(S::from_bits(a), S::from_bits(b), acc);
  }
  OCTAVO_INLINE typename S::f32 to_float(sum x) { return x; }
};
template <class S>
struct Bf16Pairs : Floats<S> {
  using FullRange = Bf16Pairs;
  using sum = typename S::f32;
  OCTAVO_INLINE sum step(sum acc, typename S::s32 a, typename S::s32 b) { return S::dot_bf16(acc, a, b); }
};

// Rows of a product's tile that are scaled and stored: all of them, so that their number is known to the compiler,
// unless one tile holds the whole group, of which few rows may be in use. There is memory for rows that are not.
template <class Product>
OCTAVO_INLINE int rows_of_tile(int rows) {
  return Product::kRows < kGroupRows ? Product::kRows : rows;
}

// Work that may be done between the steps of a tile, on units of the processor that the products leave idle. NoWork:
// none.
struct NoWork {
  static constexpr int kParts = 1;
  inline __attribute__((always_inline)) void operator()() const {}
};

// `between` is called kParts times, after equal shares of the steps.
template <class S, class Kind, int kRows, int kColumns, class Between>
OCTAVO_INLINE void dot_tile(const std::int32_t* a, std::ptrdiff_t a_ld, const std::int32_t* b, std::ptrdiff_t b_ld,
                            std::int64_t steps, typename Kind::sum (&c)[kRows][kColumns], Between&& between) {
  constexpr int kParts = std::remove_reference_t<Between>::kParts;
  const std::int64_t share = kParts == 1 ? steps : (steps + kParts - 1) / kParts;
  std::int64_t step = 0;
  for (int part = 0; part < kParts; ++part) {
    const std::int64_t end = step + share < steps ? step + share : steps;
    for (; step < end; ++step) {
      typename S::s32 columns[kColumns];
#pragma GCC unroll 8
      for (int j = 0; j < kColumns; ++j) columns[j] = S::load(b + step * b_ld + j * S::kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const auto row = S::set1(a[i * a_ld + step]);
#pragma GCC unroll 8
        for (int j = 0; j < kColumns; ++j) c[i][j] = Kind::step(c[i][j], row, columns[j]);
      }
    }
    between();
  }
}

}  // namespace
}  // namespace octavo::cpu
