// safetensors: round trips, and headers that lie about sizes, offsets, names and depth.
#include "io/safetensors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "scratch_file.hpp"

namespace octavo::io {
namespace {

std::string file_bytes(const std::string& header, const std::string& data) {
  std::string bytes;
  for (std::size_t i = 0; i < 8; ++i) bytes += static_cast<char>(static_cast<std::uint64_t>(header.size()) >> (8 * i));
  return bytes + header + data;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, int begin, int end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

Result<SafetensorsHeader> header_of(const std::string& bytes) {
  const ScratchFile scratch(".safetensors", bytes);
  const Result<InputFile> file = InputFile::open(scratch.path());
  if (!file.ok()) return file.status();
  return read_safetensors_header(*file);
}

TEST(Safetensors, EveryDtypeComesBackBitForBit) {
  std::vector<unsigned char> bytes(8 * 6);
  std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(3));
  const unsigned char booleans[6] = {0, 1, 1, 0, 0, 1};
  std::vector<NamedView> tensors;
  for (const DType dtype :
       {DType::s8, DType::f32, DType::f16, DType::bf16, DType::f64, DType::u8, DType::s16, DType::u16, DType::s32,
        DType::u32, DType::s64, DType::u64, DType::e4m3, DType::e5m2, DType::boolean}) {
    const void* data = dtype == DType::boolean ? booleans : bytes.data();
    tensors.push_back({"t." + std::string(to_string(dtype)), TensorView(data, dtype, {2, 3})});
  }
  const ScratchFile scratch(".safetensors");
  ASSERT_TRUE(write_safetensors(scratch.path(), tensors, {{"model", "a \"b\"\n"}, {"layout", "HND"}}).ok());
  const Result<InputFile> file = InputFile::open(scratch.path());
  ASSERT_TRUE(file.ok());
  const Result<SafetensorsHeader> header = read_safetensors_header(*file);
  ASSERT_TRUE(header.ok()) << header.status().message();
  EXPECT_EQ(header->metadata, (Metadata{{"model", "a \"b\"\n"}, {"layout", "HND"}}));
  ASSERT_EQ(header->entries.size(), tensors.size());
  for (const TensorEntry& found : header->entries) {
    const Result<Tensor> read = read_safetensors(*file, found);
    ASSERT_TRUE(read.ok()) << read.status().message();
    const auto wanted = std::find_if(tensors.begin(), tensors.end(),
                                     [&](const NamedView& tensor) { return tensor.name == found.name; });
    ASSERT_NE(wanted, tensors.end()) << found.name;
    EXPECT_EQ(read->view().dtype, wanted->view.dtype);
    EXPECT_EQ(shape_string(read->view()), "[2, 3]");
    EXPECT_EQ(std::memcmp(read->data(), wanted->view.data, read->bytes()), 0) << found.name;
    EXPECT_EQ(found.offset % static_cast<std::uint64_t>(bits_of(wanted->view.dtype) / 8), 0u) << found.name;
  }
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  EXPECT_TRUE(header_of(file_bytes("{}", "")).ok());
  EXPECT_TRUE(header_of(file_bytes("{\"__metadata__\":{}}     ", "")).ok());
  EXPECT_TRUE(header_of(file_bytes("{" + entry("a", "F32", "[0, 7]", 0, 0) + "}", "")).ok());
  // Tensors in another order than their names, and a scalar.
  EXPECT_TRUE(
      header_of(file_bytes("{" + entry("b", "U8", "[2]", 4, 6) + "," + entry("a", "F32", "[]", 0, 4) + "}", "abcdef"))
          .ok());
}

TEST(Safetensors, AnUnknownDtypeIsListedAndNotRead) {
  const ScratchFile scratch(".safetensors", file_bytes("{" + entry("a", "F4", "[2]", 0, 1) + "}", "x"));
  const Result<InputFile> file = InputFile::open(scratch.path());
  const Result<SafetensorsHeader> header = read_safetensors_header(*file);
  ASSERT_TRUE(header.ok()) << header.status().message();
  const Result<Tensor> read = read_safetensors(*file, header->entries[0]);
  EXPECT_EQ(read.status().code(), StatusCode::kUnimplemented);
  EXPECT_NE(read.status().message().find("\"F4\""), std::string::npos) << read.status().message();
}

TEST(Safetensors, MalformedFilesAreErrors) {
  const auto expect = [](const std::string& bytes, const std::string& text) {
    const Result<SafetensorsHeader> header = header_of(bytes);
    EXPECT_EQ(header.status().code(), StatusCode::kFailedPrecondition) << text;
    EXPECT_NE(header.status().message().find(text), std::string::npos) << header.status().message();
  };
  const auto one = [](const std::string& text) { return "{" + text + "}"; };
  expect("", "at least 8");
  expect("1234567", "at least 8");
  expect(std::string(8, '\xFF'), "header length 18446744073709551615");
  expect(file_bytes("{}", "").substr(0, 9), "header length 2");
  expect(file_bytes("", ""), "does not start with '{'");
  expect(file_bytes(" {}", ""), "does not start with '{'");
  expect(file_bytes("{} x", ""), "data after the end of the document");
  expect(file_bytes("{\"a\":1}", ""), "expected '{'");
  expect(file_bytes("{\"a\":{}}", ""), "lacks dtype");
  expect(file_bytes(R"({"a":{"dtype":"U8","shape":[1]}})", "x"), "lacks data_offsets");
  expect(file_bytes(R"({"a":{"dtype":"U8","dtype":"U8"}})", "x"), "appears twice");
  expect(file_bytes(R"({"a":{"colour":1}})", "x"), "colour");
  expect(file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "x"), "must be two numbers");
  expect(file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", "x"), "more than two");
  expect(file_bytes(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "x"), "non-negative");
  expect(file_bytes(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", "x"), "non-negative");
  expect(file_bytes(R"({"__metadata__":{"a":1}})", ""), "expected '\"'");
  expect(file_bytes(R"({"__metadata__":{},"__metadata__":{}})", ""), "appears twice");
  expect(file_bytes(one(entry("a", "U8", "[1]", 1, 0)), "x"), "descending order");
  expect(file_bytes(one(entry("a", "U8", "[2]", 0, 2)), "x"), "the file has 1 bytes of data");
  expect(file_bytes(one(entry("a", "U8", "[1]", 0, 1)), "xy"), "end at data offset 1");
  expect(file_bytes(one(entry("a", "F32", "[1]", 0, 2)), "xy"), "needs 4 bytes");
  expect(file_bytes(one(entry("a", "F32", "[4611686018427387904]", 0, 2)), "xy"), "overflows");
  expect(file_bytes(one(entry("a", "U8", "[9223372036854775808]", 0, 2)), "xy"), "2^63");
  expect(file_bytes(one(entry("a", "U8", "[0, 4294967296, 4294967296]", 0, 0)), ""), "overflows");
  const std::string axes = "[1" + std::string(64 * 2, ' ').replace(0, 128, [] {
    std::string text;
    for (int i = 0; i < 64; ++i) text += ",1";
    return text;
  }()) + "]";
  expect(file_bytes(one(entry("a", "U8", axes, 0, 1)), "x"), "more than 64 axes");
  expect(file_bytes(one(entry("a", "U8", "[1]", 0, 1) + "," + entry("a", "U8", "[1]", 1, 2)), "xy"), "appears twice");
  expect(file_bytes(one(entry("a", "U8", "[2]", 0, 2) + "," + entry("b", "U8", "[2]", 1, 3)), "xyz"), "inside");
  expect(file_bytes(one(entry("a", "U8", "[2]", 0, 2) + "," + entry("b", "U8", "[2]", 0, 2)), "xy"), "inside");
  expect(file_bytes(one(entry("a", "U8", "[1]", 0, 1) + "," + entry("b", "U8", "[1]", 2, 3)), "xyz"), "gap");
}

TEST(Safetensors, NamesAreQuotedInPlainAscii) {
  const Status status = header_of(file_bytes("{" + entry("\x1b[2J\xff", "U8", "[2]", 0, 2) + "}", "x")).status();
  EXPECT_NE(status.message().find("control character"), std::string::npos) << status.message();
  const Status escaped = header_of(file_bytes("{" + entry("\\u001b\xff", "U8", "[2]", 0, 2) + "}", "x")).status();
  EXPECT_NE(escaped.message().find("\\u001b\\xff"), std::string::npos) << escaped.message();
  for (const char c : escaped.message()) EXPECT_TRUE(c >= 0x20 && c < 0x7F) << escaped.message();
}

TEST(Safetensors, DeepAndHugeHeadersAreRefused) {
  EXPECT_FALSE(header_of(file_bytes("{\"a\":" + std::string(1'000'000, '['), "")).ok());
  EXPECT_FALSE(header_of(file_bytes("{" + std::string(1'000'000, '{'), "")).ok());
  std::string many = "{";
  for (int i = 0; i < 20000; ++i) many += (i > 0 ? "," : "") + entry("t" + std::to_string(i), "U8", "[0]", 0, 0);
  const Result<SafetensorsHeader> header = header_of(file_bytes(many + "}", ""));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->entries.size(), 20000u);
}

TEST(Safetensors, BooleansMustBeZeroOrOne) {
  const ScratchFile scratch(".safetensors",
                            file_bytes("{" + entry("a", "BOOL", "[3]", 0, 3) + "}", std::string("\0\1\7", 3)));
  const Result<InputFile> file = InputFile::open(scratch.path());
  const Result<SafetensorsHeader> header = read_safetensors_header(*file);
  ASSERT_TRUE(header.ok());
  const Status status = read_safetensors(*file, header->entries[0]).status();
  EXPECT_NE(status.message().find("boolean 7"), std::string::npos) << status.message();
}

TEST(Safetensors, AFileThatShrankIsAnErrorNotASignal) {
  const std::string bytes = file_bytes("{" + entry("a", "U8", "[4096]", 0, 4096) + "}", std::string(4096, 'x'));
  const ScratchFile scratch(".safetensors", bytes);
  const Result<InputFile> file = InputFile::open(scratch.path());
  const Result<SafetensorsHeader> header = read_safetensors_header(*file);
  ASSERT_TRUE(header.ok());
  scratch.write(bytes.substr(0, 100));
  EXPECT_EQ(read_safetensors(*file, header->entries[0]).status().code(), StatusCode::kFailedPrecondition);
}

TEST(Safetensors, WritingRefusesWhatCannotBeNamed) {
  const float value = 0;
  const std::vector<NamedView> twice = {{"a", TensorView(&value, DType::f32, {1})},
                                        {"a", TensorView(&value, DType::f32, {1})}};
  const ScratchFile scratch(".safetensors");
  EXPECT_EQ(write_safetensors(scratch.path(), twice).code(), StatusCode::kInvalidArgument);
  const std::vector<NamedView> packed = {{"a", TensorView(&value, DType::s4, {2})}};
  EXPECT_EQ(write_safetensors(scratch.path(), packed).code(), StatusCode::kUnimplemented);
}

TEST(Safetensors, MutatedFilesNeverCrash) {
  const std::string header = "{\"__metadata__\":{\"k\":\"v\"}," + entry("a", "F32", "[2,3]", 0, 24) + "," +
                             entry("b", "BF16", "[1,2]", 24, 28) + "}";
  const std::string good = file_bytes(header, std::string(28, 'x'));
  ASSERT_TRUE(header_of(good).ok());
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(header_of(good.substr(0, length)).ok()) << length;
  }
  std::mt19937 random(11);
  const ScratchFile scratch(".safetensors");
  int refused = 0;
  for (int round = 0; round < 600; ++round) {
    std::string bytes = good;
    for (unsigned change = 0; change <= random() % 3; ++change) {
      bytes[random() % (bytes.size() - 28)] = static_cast<char>(random());
    }
    scratch.write(bytes);
    const Result<InputFile> file = InputFile::open(scratch.path());
    const Result<SafetensorsHeader> read = read_safetensors_header(*file);
    refused += !read.ok();
    if (!read.ok()) continue;
    for (const TensorEntry& found : read->entries) {
      const Result<Tensor> tensor = read_safetensors(*file, found);
      if (tensor.ok()) {
        EXPECT_EQ(tensor->bytes(), found.bytes);
      }
    }
  }
  EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace octavo::io
