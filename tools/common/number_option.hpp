// Numeric flags with error messages that name the value and what is allowed; CLI11 names one of them or neither.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace octavo::tool {

// The whole text as one number; "+5" too, as in C.
template <class Number>
bool read_number(std::string_view text, Number& value) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

inline CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
  const std::string range = std::to_string(least) + ".." + std::to_string(most);
  return {[=](std::string& text) {
            std::int64_t value = 0;
            if (read_number(text, value) && value >= least && value <= most) return std::string();
            return "'" + text + "' is no whole number in " + range;
          },
          "in " + range, "whole number"};
}

inline CLI::Validator finite_number() {
  return {[](std::string& text) {
            double value = 0;
            if (read_number(text, value) && std::isfinite(value)) return std::string();
            return "'" + text + "' is not a finite number; 0.125 and -1e-3 are examples";
          },
          "", "finite number"};
}

}  // namespace octavo::tool
