// 2^x as 2^round(x) times a polynomial of the rest f in [-1/2, 1/2]: coefficients of the least largest relative error,
// made and bounded by scripts/exp2_coefficients.py. c[0] + c[1] f + c[2] f^2 + ..., all f32.
#pragma once

namespace octavo::spec {

// Relative error <= 2.65e-6 (exactly evaluated): for weights that become 8-bit codes. A cubic's 7.5e-5 would be enough
// for their contract; this is one more product, and thirty times fewer codes differ by one from the true weight's.
constexpr float kExp2Quartic[5] = {0x1.ffffe8p-1f, 0x1.62e0dcp-1f, 0x1.ec06dap-3f, 0x1.ca1440p-5f, 0x1.3997d6p-7f};

// Relative error <= 1.58e-7 (exactly evaluated), and 2^0 = 1: for 16-bit codes and float weights.
constexpr float kExp2Quintic[6] = {1.0f,           0x1.62e428p-1f, 0x1.ebf918p-3f,
                                   0x1.c6b6e4p-5f, 0x1.3d0c52p-7f, 0x1.5c08e6p-10f};

}  // namespace octavo::spec
