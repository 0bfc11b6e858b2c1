// What main.cpp registers, and the ceilings that every figure is read against.
#pragma once

#include <benchmark/benchmark.h>

#include "prepared_call.hpp"

namespace octavo::bench {

// 10^9 operations a second on one thread; 0: no such instruction here.
struct Peaks {
  double int8 = 0, bf16 = 0, f32 = 0;
};

// qk, softmax, qk_and_softmax and pv on one query block and one key block, and the attention task that contains them.
void register_stages(const cpu::Implementation& implementation, const Peaks& peaks);
// Packing of key blocks, and quantize() of each operand.
void register_operands(const cpu::Implementation& implementation);

}  // namespace octavo::bench
