// Log lines: to stderr if OCTAVO_LOG asks for them, or to a sink that was installed; otherwise they are dropped.
#pragma once

#include <string_view>

#include "core/env.hpp"

namespace octavo {

using LogSink = void (*)(void* context, LogLevel level, std::string_view line);

// Whether a line of this level would be seen: ask before building the line.
bool log_enabled(LogLevel level) noexcept;

// One line, without a line break; written at once so that lines of several threads do not mix.
void log_line(LogLevel level, std::string_view line) noexcept;

// Sends lines up to `level` to `sink` in place of stderr, whatever OCTAVO_LOG says; null returns to the environment.
void set_log_sink(LogSink sink, void* context, LogLevel level) noexcept;

}  // namespace octavo
