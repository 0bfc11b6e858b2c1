// The card that a test runs on: emulated, or, in tests/gpu_programs, the machine's own.
#pragma once

#if defined(OCTAVO_ON_A_CARD)
#include "octavo/implementation.hpp"
namespace octavo::test {
// Some tests only hold it.
struct [[maybe_unused]] Card {
  void pretend(int) {}            // its own compute capability stays
  int held() const { return 0; }  // what a call keeps on a card is the sanitizer's business
};
inline bool has_wgmma(const Card&) {
  for (const ImplementationInfo& info : implementations()) {
    if (info.name == "sm90") return info.supported;
  }
  return false;
}
}  // namespace octavo::test
#else
#include "emulated_runtime.hpp"
namespace octavo::test {
using Card = EmulatedRuntime;
// The emulated GPU has what it is asked for; few multiprocessors, so that their blocks take several tasks.
inline bool has_wgmma(Card& card) {
  card.gpus.at(0).wgmma_kernels = true;
  card.gpus.at(0).multiprocessors = 2;
  return true;
}
}  // namespace octavo::test
#endif
