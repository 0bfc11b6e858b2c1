// Writes log lines to stderr or passes them to a sink.
#include "core/log.hpp"

#include <unistd.h>

#include <atomic>
#include <mutex>

#include "core/text.hpp"

namespace octavo {
namespace {

struct Target {
  std::mutex mutex;
  LogSink sink = nullptr;
  void* context = nullptr;
};
Target& target() {
  static Target* const kTarget = new Target;  // never destroyed: see environment()
  return *kTarget;
}
// Level of the installed sink; negative: none, the environment decides.
std::atomic<int> sink_level{-1};

}  // namespace

bool log_enabled(LogLevel level) noexcept {
  const int installed = sink_level.load(std::memory_order_relaxed);
  if (installed >= 0) return static_cast<int>(level) <= installed;
  try {
    return level <= environment().log;
  } catch (...) {
    return false;
  }
}

void log_line(LogLevel level, std::string_view line) noexcept {
  if (level == LogLevel::off || !log_enabled(level)) return;
  try {
    Target& to = target();
    const std::lock_guard lock(to.mutex);
    if (to.sink != nullptr) {
      to.sink(to.context, level, line);
      return;
    }
    const std::string whole = text("octavo: ", line, "\n");
    // One write, so that the lines of several processes stay whole too; a closed stderr is ignored.
    if (::write(STDERR_FILENO, whole.data(), whole.size()) < 0) return;
  } catch (...) {
    return;  // a log line is never worth a failed call
  }
}

void set_log_sink(LogSink sink, void* context, LogLevel level) noexcept {
  try {
    Target& to = target();
    const std::lock_guard lock(to.mutex);
    to.sink = sink;
    to.context = context;
    sink_level.store(sink != nullptr ? static_cast<int>(level) : -1, std::memory_order_relaxed);
  } catch (...) {
    return;
  }
}

}  // namespace octavo
