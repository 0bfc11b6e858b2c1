// How tests ask what the emulation has to say of a kernel.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "cuda_emulation/machine.hpp"

namespace octavo::test {

// Copies that come at once, that come late, and late with warps in another order.
inline constexpr cuda::emulation::Options kAllOptions[] = {{cuda::emulation::Completion::at_issue, 0},
                                                           {cuda::emulation::Completion::at_wait, 0},
                                                           {cuda::emulation::Completion::at_wait, 7}};

// The sentence of the fault that the kernel ends with; "" when it ends well.
template <class Machine, class Kernel>
std::string fault_of(const cuda::emulation::Grid& grid, const cuda::emulation::Options& options, Kernel&& kernel) {
  try {
    cuda::emulation::launch<Machine>(grid, options, kernel);
  } catch (const cuda::emulation::Fault& fault) {
    return fault.what();
  }
  return {};
}
inline void expect_in(const std::string& sentence, const std::string& part) {
  EXPECT_NE(sentence.find(part), std::string::npos) << '"' << sentence << "\" should say \"" << part << '"';
}

}  // namespace octavo::test
