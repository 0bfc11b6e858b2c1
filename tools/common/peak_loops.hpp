// Loops of one arithmetic instruction, or of loads: the peaks of this machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::tool {

// A product and an addition are two operations.
struct PeakLoop {
  const char* instruction;          // null: this machine has none
  double operations_per_iteration;  // on one thread
  void (*run)(std::uint64_t iterations);
};

// The widest form that this machine has, chosen at run time.
PeakLoop int8_loop();
PeakLoop bf16_loop();
PeakLoop f16_loop();  // sums in f16
PeakLoop f32_loop();

// AMX's products of tiles.
PeakLoop amx_int8_loop();
PeakLoop amx_bf16_loop();

struct ReadLoop {
  const char* instruction;
  std::size_t bytes_per_step;
  void (*run)(const void* data, std::size_t steps);
};
ReadLoop read_loop();

}  // namespace octavo::tool
