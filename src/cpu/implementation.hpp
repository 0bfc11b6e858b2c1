// One row of the table of implementations.
#pragma once

#include <cstdint>

#include "cpu/cpu.hpp"
#include "cpu/kernel_table.hpp"

namespace octavo::cpu {

struct Implementation : octavo::Implementation {
  std::uint32_t features;  // bits of Feature it needs
  const KernelTable* kernels;
};

}  // namespace octavo::cpu
