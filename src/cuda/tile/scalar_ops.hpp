// The operations that the shared arithmetic of src/spec is written over, on one lane's f32 numbers.
#pragma once

#include "cuda/tile/compile.hpp"

namespace octavo::cuda {

template <class Machine>
struct ScalarOps {
  using f32 = float;
  static OCTAVO_DEVICE float set1(float x) { return x; }
  static OCTAVO_DEVICE float add(float a, float b) { return a + b; }
  static OCTAVO_DEVICE float sub(float a, float b) { return a - b; }
  static OCTAVO_DEVICE float mul(float a, float b) { return a * b; }
  static OCTAVO_DEVICE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static OCTAVO_DEVICE float max(float a, float b) { return __builtin_fmaxf(a, b); }
  static OCTAVO_DEVICE bool less(float a, float b) { return a < b; }
  static OCTAVO_DEVICE bool equal(float a, float b) { return a == b; }
  static OCTAVO_DEVICE float select(bool condition, float yes, float no) { return condition ? yes : no; }
  static OCTAVO_DEVICE float exp2(float x) { return Machine::exp2(x); }
  static OCTAVO_DEVICE float log2(float x) { return Machine::log2(x); }
};

}  // namespace octavo::cuda
