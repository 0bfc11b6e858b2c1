// Numbers and codes of FP8 as the quantizers of CUDA make them, against the codes of the specification.
#include <gtest/gtest.h>

#include "cuda/operands/quantize.hpp"
#include "cuda_emulation/machine.hpp"

namespace octavo::cuda {
namespace {

// Every sign, exponent and upper half of a mantissa, with lower halves around ties.
template <class Check>
void for_each_number(Check&& check) {
  for (std::uint32_t upper = 0; upper < 1u << 16; ++upper) {
    for (const std::uint32_t lower : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      check(f32_of_bits(upper << 16 | lower));
  }
}

bool same_number(float a, float b) { return a != a ? b != b : bits_of_f32(a) == bits_of_f32(b); }

TEST(Float8, NumbersAreThoseOfTheCodes) {
  for (const float inverse : {1.0f, 0.37f, 448.0f / 3, 0.0f}) {
    std::int64_t wrong = 0;
    for_each_number([&](float x) {
      wrong += same_number(float8_number(false, x, inverse), e4m3_to_f32(spec::e4m3_code(x, inverse))) ? 0 : 1;
      wrong += same_number(float8_number(true, x, inverse), e5m2_to_f32(spec::e5m2_code(x, inverse))) ? 0 : 1;
    });
    EXPECT_EQ(wrong, 0) << "inverse " << inverse;
  }
}

TEST(Float8, ANumberHasItsCodeAgain) {
  for (int code = 0; code < 256; ++code) {
    const float number = e4m3_to_f32(static_cast<std::uint8_t>(code));
    EXPECT_EQ(code_of_e4m3(number), number != number ? 0x7f : code);
  }
}

}  // namespace
}  // namespace octavo::cuda
