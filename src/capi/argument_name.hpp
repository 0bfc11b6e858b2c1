// What an argument is called in messages, in two parts so that calls without errors put no strings together:
// {"quantized_k", ".scales"}.
#pragma once

#include <string>
#include <string_view>

namespace octavo::capi {

struct ArgumentName {
  std::string_view argument, part{};

  ArgumentName(std::string_view whole) noexcept : argument(whole) {}
  ArgumentName(const char* whole) noexcept : argument(whole) {}
  ArgumentName(std::string_view first, std::string_view second) noexcept : argument(first), part(second) {}
};

inline void append_text(std::string& to, const ArgumentName& name) {
  to += name.argument;
  to += name.part;
}

}  // namespace octavo::capi
