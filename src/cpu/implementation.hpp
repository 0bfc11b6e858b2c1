// One row of the table of implementations.
#pragma once

#include <cstdint>

#include "cpu/cpu.hpp"
#include "cpu/kernel_table.hpp"

namespace octavo::cpu {

struct Implementation;

// Those that need a feature of `slow` behind the others; else in the order given.
void sort_by_preference(std::span<const Implementation*> list, std::uint32_t slow) noexcept;

struct Implementation : octavo::Implementation {
  std::uint32_t features;  // bits of Feature it needs
  const KernelTable* kernels;
};

}  // namespace octavo::cpu
