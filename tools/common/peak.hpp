// The measured peaks of this machine with T threads.
#pragma once

#include <cstddef>

namespace octavo::tool {

struct Peak {
  double value = 0;      // 10^9 operations or bytes a second; 0: no such instruction here
  double cpu_share = 1;  // of the processors, while it was measured; below 1, others took the rest and it is too low
  const char* instruction = nullptr;
};

struct Peaks {
  Peak vnni, bf16, f16, f32, amx_int8, amx_bf16, dram;
  std::size_t dram_bytes = 0;
};

// Only the int8 peak.
Peak measure_vnni(int threads);
Peaks measure_peaks(int threads);

}  // namespace octavo::tool
