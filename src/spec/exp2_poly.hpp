// 2^x as 2^n times a polynomial of the rest f = x - n, an integer n: coefficients of the least largest relative error,
// made and bounded by scripts/exp2_coefficients.py. c[0] + c[1] f + c[2] f^2 + ..., all f32.
//   quartic  for weights that become 8-bit codes. A cubic's 7.5e-5 would be enough for their contract; this is one more
//            product, and thirty times fewer codes differ by one from the true weight's.
//   quintic  for 16-bit codes and float weights; 2^0 = 1 exactly.
// Relative errors, exactly evaluated: <= 2.65e-6 and 1.58e-7.
#pragma once

namespace octavo::spec {
namespace {  // kernels of every instruction set include this: nothing may be shared between their objects

// n is the nearest integer, f in [-1/2, 1/2].
struct Exp2Nearest {
  static constexpr float kFirst = -0.5f;
  static constexpr float kQuartic[5] = {0x1.ffffe8p-1f, 0x1.62e0dcp-1f, 0x1.ec06dap-3f, 0x1.ca1440p-5f, 0x1.3997d6p-7f};
  static constexpr float kQuintic[6] = {1.0f,           0x1.62e428p-1f, 0x1.ebf918p-3f,
                                        0x1.c6b6e4p-5f, 0x1.3d0c52p-7f, 0x1.5c08e6p-10f};
};

// n is the largest integer that is not above x, f in [0, 1].
struct Exp2Floor {
  static constexpr float kFirst = 0.0f;
  static constexpr float kQuartic[5] = {0x1.00002cp+0f, 0x1.62d166p-1f, 0x1.ee798ap-3f, 0x1.aa13f0p-5f, 0x1.bb7cd4p-7f};
  static constexpr float kQuintic[6] = {1.0f,           0x1.62e4f6p-1f, 0x1.ebd5a8p-3f,
                                        0x1.c95446p-5f, 0x1.26900cp-7f, 0x1.ec320ap-10f};
};

}  // namespace
}  // namespace octavo::spec
