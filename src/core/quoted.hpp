// A caller's text inside an error message.
#pragma once

#include <string>
#include <string_view>

namespace octavo {

// In quotes, with control characters as \x00: a NUL would end the message for C programs, and a line feed would split
// it into two lines.
inline std::string quoted(std::string_view words) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : words) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      result += c;
    } else {
      result += "\\x";
      result += kDigits[byte / 16];
      result += kDigits[byte % 16];
    }
  }
  return result += '"';
}

}  // namespace octavo
