// JSON's grammar (RFC 8259), strictly: no comments, no trailing commas, no leading zeros, no lone surrogates.
#include "io/json_reader.hpp"

#include <limits>
#include <utility>

namespace octavo::io {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

void append_utf8(std::string& text, std::uint32_t point) {
  const auto put = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xC0 | point >> 6);
    put(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    put(0xE0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3F));
    put(0x80 | (point & 0x3F));
  } else {
    put(0xF0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3F));
    put(0x80 | (point >> 6 & 0x3F));
    put(0x80 | (point & 0x3F));
  }
}

}  // namespace

bool JsonReader::fail(std::string what) {
  if (!failed()) error_ = "byte " + std::to_string(position_) + ": " + std::move(what);
  return false;
}

void JsonReader::skip_space() noexcept {
  while (position_ < text_.size() && std::string_view(" \t\n\r").find(text_[position_]) != std::string_view::npos) {
    ++position_;
  }
}

bool JsonReader::at(char c) noexcept { return position_ < text_.size() && text_[position_] == c; }

bool JsonReader::expect(char c) {
  if (failed()) return false;
  skip_space();
  if (!at(c)) {
    return fail(std::string("expected '") + c + "', found " +
                (position_ < text_.size() ? json_quoted(text_.substr(position_, 1)) : "the end"));
  }
  ++position_;
  return true;
}

bool JsonReader::enter_object() {
  first_ = true;
  return expect('{');
}

bool JsonReader::enter_array() {
  first_ = true;
  return expect('[');
}

// Steps to the next item of the innermost container, or over its end.
bool JsonReader::next(char close) {
  if (failed()) return false;
  skip_space();
  if (at(close)) {
    ++position_;
    first_ = false;
    return false;
  }
  return std::exchange(first_, false) || expect(',');
}

bool JsonReader::next_member(std::string& key) { return next('}') && read_string(key) && expect(':'); }

bool JsonReader::next_element() { return next(']'); }

bool JsonReader::read_hex(std::uint32_t& unit) {
  unit = 0;
  for (int i = 0; i < 4; ++i, ++position_) {
    const char c = position_ < text_.size() ? text_[position_] : '\0';
    if (is_digit(c)) {
      unit = unit * 16 + static_cast<std::uint32_t>(c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
      unit = unit * 16 + static_cast<std::uint32_t>((c | 0x20) - 'a' + 10);
    } else {
      return fail("expected four hexadecimal digits after \\u");
    }
  }
  return true;
}

// After a backslash.
bool JsonReader::read_escape(std::string& value) {
  constexpr std::string_view kLetters = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  const char c = position_ < text_.size() ? text_[position_] : '\0';
  if (c == 'u') {
    ++position_;
    std::uint32_t point = 0;
    if (!read_hex(point)) return false;
    if (point >= 0xDC00 && point < 0xE000) return fail("a low surrogate without a high surrogate");
    if (point >= 0xD800 && point < 0xDC00) {
      std::uint32_t low = 0;
      if (text_.substr(position_, 2) != "\\u") return fail("a high surrogate without a low surrogate");
      position_ += 2;
      if (!read_hex(low)) return false;
      if (low < 0xDC00 || low >= 0xE000) return fail("a high surrogate without a low surrogate");
      point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(value, point);
    return true;
  }
  const std::size_t letter = c == '\0' ? std::string_view::npos : kLetters.find(c);
  if (letter == std::string_view::npos) return fail("an unknown escape");
  value.push_back(kMeanings[letter]);
  ++position_;
  return true;
}

bool JsonReader::read_string(std::string& value) {
  value.clear();
  if (!expect('"')) return false;
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (static_cast<unsigned char>(c) < 0x20) return fail("a control character inside a string");
    ++position_;
    if (c == '"') return true;
    if (c != '\\') {
      value.push_back(c);
    } else if (!read_escape(value)) {
      return false;
    }
  }
  return fail("an unterminated string");
}

bool JsonReader::read_unsigned(std::uint64_t& value) {
  if (failed()) return false;
  skip_space();
  const std::size_t start = position_;
  value = 0;
  for (; position_ < text_.size() && is_digit(text_[position_]); ++position_) {
    const auto digit = static_cast<std::uint64_t>(text_[position_] - '0');
    if (value > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) return fail("a number above 2^64 - 1");
    value = value * 10 + digit;
  }
  const bool leading_zero = position_ - start > 1 && text_[start] == '0';
  if (position_ == start || leading_zero || at('.') || at('e') || at('E')) {
    return fail("expected a non-negative integer");
  }
  return true;
}

bool JsonReader::finish() {
  if (failed()) return false;
  skip_space();
  return position_ == text_.size() || fail("data after the end of the document");
}

std::string json_quoted(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20) {
      quoted += "\\u00";
      quoted += kHex[byte >> 4];
      quoted += kHex[byte & 15];
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace octavo::io
