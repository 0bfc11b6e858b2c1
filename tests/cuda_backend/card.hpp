// The card that a test runs on: emulated, or, in tests/gpu_programs, the machine's own.
#pragma once

#if defined(OCTAVO_ON_A_CARD)
namespace octavo::test {
// Some tests only hold it.
struct [[maybe_unused]] Card {
  void pretend(int) {}            // its own compute capability stays
  int held() const { return 0; }  // what a call keeps on a card is the sanitizer's business
};
}  // namespace octavo::test
#else
#include "emulated_runtime.hpp"
namespace octavo::test {
using Card = EmulatedRuntime;
}  // namespace octavo::test
#endif
