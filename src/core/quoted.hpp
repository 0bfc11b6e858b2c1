// A caller's own text within a sentence.
#pragma once

#include <string>
#include <string_view>

namespace octavo {

// In quotes, with control characters as \x00: a NUL would end the message of whoever takes it as a C string, and a line
// feed would make two of one.
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
