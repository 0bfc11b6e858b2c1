// Parses octavo's environment variables.
#include "core/env.hpp"

#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "core/text.hpp"
#include "octavo/parallel.hpp"

namespace octavo {
namespace {

constexpr std::array<std::string_view, 6> kLogNames{"off", "error", "warn", "info", "dispatch", "trace"};

}  // namespace

Environment parse_environment(const char* force_implementation, const char* num_threads, const char* log,
                              const char* interleave_softmax) {
  Environment result;
  if (force_implementation != nullptr) result.force_implementation = force_implementation;

  if (num_threads != nullptr && *num_threads != '\0') {
    const std::string_view digits = num_threads;
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size() || value < 0 || value > kMaxThreads) {
      result.num_threads_status =
          invalid_argument("OCTAVO_NUM_THREADS is \"", digits, "\"; allowed are 0 (automatic) to ", kMaxThreads);
    } else {
      result.num_threads = value;
    }
  }

  if (log != nullptr && *log != '\0') {
    bool known = false;
    for (std::size_t level = 0; level < kLogNames.size(); ++level) {
      if (kLogNames[level] != log) continue;
      result.log = static_cast<LogLevel>(level);
      known = true;
    }
    if (!known) {
      result.log_status =
          invalid_argument("OCTAVO_LOG is \"", log, "\"; allowed are off, error, warn, info, dispatch and trace");
    }
  }

  if (interleave_softmax != nullptr && *interleave_softmax != '\0') {
    const std::string_view value = interleave_softmax;
    if (value == "on" || value == "off") {
      result.interleave_softmax = value == "on";
    } else {
      result.interleave_softmax_status =
          invalid_argument("OCTAVO_INTERLEAVE_SOFTMAX is \"", value, "\"; allowed are on and off");
    }
  }
  return result;
}

const Environment& environment() {
  // Never destroyed: calls from other threads may still be running while the process ends.
  static const Environment* const kRead =
      new Environment(parse_environment(std::getenv("OCTAVO_FORCE_IMPLEMENTATION"), std::getenv("OCTAVO_NUM_THREADS"),
                                        std::getenv("OCTAVO_LOG"), std::getenv("OCTAVO_INTERLEAVE_SOFTMAX")));
  return *kRead;
}

}  // namespace octavo
