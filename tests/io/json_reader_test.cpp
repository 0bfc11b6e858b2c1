// JsonReader against the grammar: what RFC 8259 allows is read, what it does not is refused with its byte.
#include "io/json_reader.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace octavo::io {
namespace {

bool accepts(const std::string& text) {
  JsonReader json(text);
  return json.skip_value() && json.finish();
}

TEST(JsonReader, AcceptsEveryKindOfValue) {
  for (const char* text : {"{}", "[]", "null", "true", "false", "0", "-0", "-1.5e+10", "1E2", "\"\"", " [1 , 2]\n",
                           R"({"a":{"b":[1,"x",{"c":null}]},"d":[]})", R"("\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00")"}) {
    EXPECT_TRUE(accepts(text)) << text;
  }
}

TEST(JsonReader, RefusesWhatIsNotJson) {
  for (const char* text : {"",
                           "{",
                           "}",
                           "[",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{'a':1}",
                           "01",
                           "+1",
                           "-",
                           "1.",
                           ".5",
                           "1e",
                           "nul",
                           "truex",
                           "\"",
                           "\"\\x\"",
                           "\"\\u12g4\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\"",
                           "\"\n\"",
                           "{} {}",
                           "[1]]",
                           "NaN",
                           "[}",
                           "{]",
                           "/**/1"}) {
    EXPECT_FALSE(accepts(text)) << text;
  }
}

TEST(JsonReader, RefusesDeepNestingWithoutRecursingIntoIt) {
  EXPECT_TRUE(accepts(std::string(60, '[') + std::string(60, ']')));
  JsonReader json(std::string_view("x"));
  const std::string deep(2'000'000, '[');
  json = JsonReader(deep);
  EXPECT_FALSE(json.skip_value());
  EXPECT_NE(json.error().find("deeper than 64"), std::string::npos) << json.error();
  std::string objects;
  for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
  EXPECT_FALSE(accepts(objects));
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
  ASSERT_TRUE(json.skip_value());
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
