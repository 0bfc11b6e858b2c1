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

// "on" or "off"; empty is not set.
Status read_switch(const char* name, const char* text, std::optional<bool>& to) {
  const std::string_view value = text == nullptr ? "" : text;
  if (value == "on" || value == "off") {
    to = value == "on";
  } else if (!value.empty()) {
    return invalid_argument(name, " is \"", value, "\"; allowed are on and off");
  }
  return {};
}

}  // namespace

Environment parse_environment(const char* force_implementation, const char* num_threads, const char* log,
                              const char* interleave_softmax, const char* cuda_ping_pong) {
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

  result.interleave_softmax_status =
      read_switch("OCTAVO_INTERLEAVE_SOFTMAX", interleave_softmax, result.interleave_softmax);
  result.cuda_ping_pong_status = read_switch("OCTAVO_CUDA_PING_PONG", cuda_ping_pong, result.cuda_ping_pong);
  return result;
}

const Environment& environment() {
  // Never destroyed: calls from other threads may still be running while the process ends.
  static const Environment* const kRead = new Environment(parse_environment(
      std::getenv("OCTAVO_FORCE_IMPLEMENTATION"), std::getenv("OCTAVO_NUM_THREADS"), std::getenv("OCTAVO_LOG"),
      std::getenv("OCTAVO_INTERLEAVE_SOFTMAX"), std::getenv("OCTAVO_CUDA_PING_PONG")));
  return *kRead;
}

}  // namespace octavo
