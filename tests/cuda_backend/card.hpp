// The card that a test runs on: emulated, or, in tests/gpu_programs, the machine's own.
#pragma once

#if defined(OCTAVO_ON_A_CARD)
#include "octavo/implementation.hpp"
namespace octavo::test {
// Some tests only hold it.
struct [[maybe_unused]] Card {
  void pretend(int) {}  // its own compute capability stays
  void share_multiprocessors(int) {}
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
// The emulated GPU has what it is asked for.
inline bool has_wgmma(Card& card) {
  card.gpus.at(0).wgmma_kernels = true;
  return true;
}
}  // namespace octavo::test
#endif
