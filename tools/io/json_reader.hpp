// A pull reader for JSON: the caller asks for what it expects, piece by piece. Nothing is built in memory, so a huge
// document costs no more than its text; the first error ends the reading and names its byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace octavo::io {

/// Every function returns false at an error; failed() tells an error from the regular end of an object or array.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) noexcept : text_(text) {}

  /// Steps over '{'; then next_member() gives each key, whose value must be read before the next call.
  bool enter_object();
  bool next_member(std::string& key);
  /// Steps over '['; then next_element() is true before each element, which must be read before the next call.
  bool enter_array();
  bool next_element();
  bool read_string(std::string& value);
  /// A number without sign, fraction and exponent that fits into 64 bits.
  bool read_unsigned(std::uint64_t& value);
  /// True when only white space is left.
  bool finish();

  /// Makes the caller's own complaint the error, at the current byte.
  bool fail(std::string what);
  bool failed() const noexcept { return !error_.empty(); }
  /// "byte 17: expected ':'".
  const std::string& error() const noexcept { return error_; }

 private:
  void skip_space() noexcept;
  bool at(char c) noexcept;
  bool expect(char c);
  bool next(char close);
  bool read_escape(std::string& value);
  bool read_hex(std::uint32_t& unit);

  std::string_view text_;
  std::size_t position_ = 0;
  bool first_ = false;  // nothing of the innermost open container was read yet
  std::string error_;
};

/// The text as a JSON string with its quotes.
std::string json_quoted(std::string_view text);

}  // namespace octavo::io
