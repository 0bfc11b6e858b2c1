// JsonReader against the grammar: what RFC 8259 allows is read, what it does not is refused with its byte.
#include "io/json_reader.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace octavo::io {
namespace {

// Whole documents of one kind.
bool is_string(std::string_view document) {
  JsonReader json(document);
  std::string value;
  return json.read_string(value) && json.finish();
}

bool is_array_of_numbers(std::string_view document) {
  JsonReader json(document);
  std::uint64_t number = 0;
  if (!json.enter_array()) return false;
  while (json.next_element()) {
    if (!json.read_unsigned(number)) return false;
  }
  return json.finish();
}

bool is_object_of_numbers(std::string_view document) {
  JsonReader json(document);
  std::string key;
  std::uint64_t number = 0;
  if (!json.enter_object()) return false;
  while (json.next_member(key)) {
    if (!json.read_unsigned(number)) return false;
  }
  return json.finish();
}

TEST(JsonReader, Strings) {
  for (const char* text : {"\"\"", " \"a\"\n", R"("\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00")"})
    EXPECT_TRUE(is_string(text)) << text;
  for (const char* text : {"", "\"", "a", "'a'", "\"\\x\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"",
                           "\"\\ud800\\u0041\"", "\"\n\"", "\"a\" \"b\"", "null"}) {
    EXPECT_FALSE(is_string(text)) << text;
  }
}

TEST(JsonReader, Arrays) {
  for (const char* text : {"[]", "[ ]", "[0]", " [1 , 2]\n", "[10,\t2]"})
    EXPECT_TRUE(is_array_of_numbers(text)) << text;
  for (const char* text : {"", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[01]", "[-1]", "[1]]", "[}", "{]",
                           "[NaN]", "[1] [2]", "[1]/**/"}) {
    EXPECT_FALSE(is_array_of_numbers(text)) << text;
  }
}

TEST(JsonReader, Objects) {
  for (const char* text : {"{}", "{ }", R"({"a":1})", R"( { "a" : 1 , "b" : 2 } )"}) {
    EXPECT_TRUE(is_object_of_numbers(text)) << text;
  }
  for (const char* text : {"", "{", "}", R"({"a"})", R"({"a":})", R"({"a":1,})", R"({,"a":1})", R"({"a":1)", "{a:1}",
                           "{'a':1}", R"({"a" 1})", R"({"a":1 "b":2})", "{} {}", "[}", R"({"a":null})"}) {
    EXPECT_FALSE(is_object_of_numbers(text)) << text;
  }
}

TEST(JsonReader, ReadsMembersAndElementsInOrder) {
  JsonReader json(R"({"a": [3, 0], "b": "x\u0041\n", "c": {"d": 7}})");
  std::string key, text;
  std::uint64_t number = 0;
  std::vector<std::uint64_t> numbers;
  ASSERT_TRUE(json.enter_object());
  ASSERT_TRUE(json.next_member(key));
  EXPECT_EQ(key, "a");
  ASSERT_TRUE(json.enter_array());
  while (json.next_element()) {
    ASSERT_TRUE(json.read_unsigned(number));
    numbers.push_back(number);
  }
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{3, 0}));
  ASSERT_TRUE(json.next_member(key));
  ASSERT_TRUE(json.read_string(text));
  EXPECT_EQ(text, "xA\n");
  ASSERT_TRUE(json.next_member(key));
  ASSERT_TRUE(json.enter_object());
  ASSERT_TRUE(json.next_member(key));
  EXPECT_EQ(key, "d");
  ASSERT_TRUE(json.read_unsigned(number));
  EXPECT_EQ(number, 7u);
  EXPECT_FALSE(json.next_member(key));
  EXPECT_FALSE(json.next_member(key));
  EXPECT_FALSE(json.failed());
  EXPECT_TRUE(json.finish());
}

TEST(JsonReader, DecodesEscapesToUtf8) {
  JsonReader json(R"("\u00e9\u20ac\ud83d\ude00")");
  std::string text;
  ASSERT_TRUE(json.read_string(text));
  EXPECT_EQ(text, "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
}

TEST(JsonReader, ReadsUnsignedNumbersUpTo64Bits) {
  std::uint64_t number = 0;
  EXPECT_TRUE(JsonReader("18446744073709551615").read_unsigned(number));
  EXPECT_EQ(number, UINT64_MAX);
  for (const char* text : {"18446744073709551616", "99999999999999999999999", "-1", "1.0", "1e3", "00", "\"1\"", ""}) {
    EXPECT_FALSE(JsonReader(text).read_unsigned(number)) << text;
  }
}

TEST(JsonReader, KeepsTheFirstErrorWithItsByte) {
  JsonReader json("{\"a\" 1}");
  std::string key;
  ASSERT_TRUE(json.enter_object());
  EXPECT_FALSE(json.next_member(key));
  EXPECT_EQ(json.error(), "byte 5: expected ':', found \"1\"");
  EXPECT_FALSE(json.finish());
  EXPECT_EQ(json.error(), "byte 5: expected ':', found \"1\"");
}

TEST(JsonReader, QuotedTextReadsBack) {
  const std::string original("a\"b\\c\n\x01\xC3\xA9", 9);
  const std::string quoted = json_quoted(original);
  JsonReader json(quoted);
  std::string text;
  ASSERT_TRUE(json.read_string(text)) << json.error();
  EXPECT_EQ(text, original);
}

}  // namespace
}  // namespace octavo::io
