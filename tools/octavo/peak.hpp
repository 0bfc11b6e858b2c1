// The measured peaks of this machine with T threads.
#pragma once

#include "output.hpp"

namespace octavo::tool {

struct Peaks {
  // 10^9 operations or bytes a second; 0: no such instruction here.
  double vnni_gops = 0, bf16_gflops = 0, f32_gflops = 0, dram_gbs = 0;
  const char* vnni_instruction = nullptr;
  const char* bf16_instruction = nullptr;
  const char* f32_instruction = nullptr;
  const char* dram_instruction = nullptr;
  std::size_t dram_bytes = 0;
};

// Only the int8 peak.
double measure_vnni_gops(int threads);
Peaks measure_peaks(int threads);

}  // namespace octavo::tool
