// The environment variables that octavo reads, once, and the values that they may have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "octavo/status.hpp"

namespace octavo {

// Each level contains those before it; `dispatch` is one line per call.
enum class LogLevel : std::uint8_t { off, error, warn, info, dispatch, trace };

struct Environment {
  std::string force_implementation;  // OCTAVO_FORCE_IMPLEMENTATION; empty: automatic. src/api checks names.
  int num_threads = 0;               // OCTAVO_NUM_THREADS; 0: what the machine gives
  LogLevel log = LogLevel::off;      // OCTAVO_LOG
  // OCTAVO_INTERLEAVE_SOFTMAX; without a value: what the processor's table says (cpu/features.hpp).
  std::optional<bool> interleave_softmax;
  // OCTAVO_CUDA_PING_PONG: whether the two warpgroups of Hopper's attention kernels start their products in turn.
  std::optional<bool> cuda_ping_pong;
  // Errors of invalid values; a call reports them unless a setter replaced the value.
  Status num_threads_status;
  Status log_status;
  Status interleave_softmax_status;
  Status cuda_ping_pong_status;
};

// The environment as it was at the first call.
const Environment& environment();

// What the variables mean; null stands for "not set". Apart from environment() for tests.
Environment parse_environment(const char* force_implementation, const char* num_threads, const char* log,
                              const char* interleave_softmax, const char* cuda_ping_pong);

}  // namespace octavo
