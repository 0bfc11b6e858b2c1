// Text of Status messages and log lines from parts (g++ 12 has no std::format).
#pragma once

#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

#include "octavo/status.hpp"

namespace octavo {

inline void append_text(std::string& to, std::string_view part) { to += part; }
inline void append_text(std::string& to, const char* part) { to += part; }
inline void append_text(std::string& to, bool) = delete;  // "1" is no readable value
template <std::integral Integer>
void append_text(std::string& to, Integer value) {
  to += std::to_string(value);
}
inline void append_text(std::string& to, double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%g", value);
  to += digits;
}

// The parts one after another: text("q has rank ", 3).
template <class... Parts>
std::string text(const Parts&... parts) {
  std::string sentence;
  (append_text(sentence, parts), ...);
  return sentence;
}

template <class... Parts>
Status invalid_argument(const Parts&... parts) {
  return Status(StatusCode::kInvalidArgument, text(parts...));
}
template <class... Parts>
Status unimplemented(const Parts&... parts) {
  return Status(StatusCode::kUnimplemented, text(parts...));
}
template <class... Parts>
Status unavailable(const Parts&... parts) {
  return Status(StatusCode::kUnavailable, text(parts...));
}
template <class... Parts>
Status resource_exhausted(const Parts&... parts) {
  return Status(StatusCode::kResourceExhausted, text(parts...));
}

// A Status whose message needs no allocation: short enough for std::string's own storage.
inline Status out_of_memory() noexcept { return Status(StatusCode::kResourceExhausted, "out of memory"); }

}  // namespace octavo
