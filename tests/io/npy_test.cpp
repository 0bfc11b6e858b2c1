// npy: round trips, orders and versions as NumPy writes them, and files that lie about themselves.
#include "io/npy.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "scratch_file.hpp"

namespace octavo::io {
namespace {

// A file of the given version with this header text and these elements.
std::string npy_bytes(const std::string& header, const std::string& data, int version = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(version);
  bytes += '\0';
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  for (std::size_t i = 0; i < length_bytes; ++i) bytes += static_cast<char>(header.size() >> (8 * i));
  return bytes + header + data;
}

std::string header_text(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

Status status_of(const std::string& bytes) {
  const ScratchFile file(".npy", bytes);
  return read_npy(file.path()).status();
}

TEST(Npy, EveryDtypeComesBackBitForBit) {
  std::vector<unsigned char> bytes(8 * 24);
  std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(0));
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::f64, DType::s8, DType::u8, DType::s16,
                            DType::u16, DType::s32, DType::u32, DType::s64, DType::u64}) {
    const ScratchFile file(".npy");
    ASSERT_TRUE(write_npy(file.path(), TensorView(bytes.data(), dtype, {2, 3, 4})).ok());
    const Result<Tensor> read = read_npy(file.path());
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->view().dtype, dtype);
    EXPECT_EQ(shape_string(read->view()), "[2, 3, 4]");
    ASSERT_EQ(read->bytes(), static_cast<std::size_t>(24 * bits_of(dtype) / 8));
    EXPECT_EQ(std::memcmp(read->data(), bytes.data(), read->bytes()), 0) << to_string(dtype);
  }
}

TEST(Npy, ElementsBeginAtAMultipleOf64) {
  const float values[6] = {};
  for (const auto& view : {TensorView(values, DType::f32, {6}), TensorView(values, DType::f32, {1, 1, 2, 3})}) {
    const ScratchFile file(".npy");
    ASSERT_TRUE(write_npy(file.path(), view).ok());
    EXPECT_EQ((file.content().size() - sizeof values) % 64, 0u);
  }
}

TEST(Npy, StridedViewsAreWrittenRowMajor) {
  const float values[6] = {0, 1, 2, 3, 4, 5};
  const ScratchFile file(".npy");
  ASSERT_TRUE(write_npy(file.path(), TensorView(values, DType::f32, {3, 2}, {1, 3})).ok());
  const Result<Tensor> read = read_npy(file.path());
  ASSERT_TRUE(read.ok());
  const float expected[6] = {0, 3, 1, 4, 2, 5};
  EXPECT_EQ(std::memcmp(read->data(), expected, sizeof expected), 0);
}

TEST(Npy, FortranOrderBecomesStrides) {
  const ScratchFile file(".npy", npy_bytes(header_text("|u1", "(2, 3)", "True"), "\x01\x02\x03\x04\x05\x06"));
  const Result<Tensor> read = read_npy(file.path());
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->view().strides[0], 1);
  EXPECT_EQ(read->view().strides[1], 2);
  EXPECT_FALSE(is_dense(read->view()));
}

TEST(Npy, VersionsOneToThree) {
  for (int version = 1; version <= 3; ++version) {
    EXPECT_TRUE(status_of(npy_bytes(header_text("<f4", "(1,)"), "abcd", version)).ok()) << version;
  }
  for (int version : {0, 4, 255}) {
    EXPECT_EQ(status_of(npy_bytes(header_text("<f4", "(1,)"), "abcd", version)).code(), StatusCode::kUnimplemented);
  }
}

TEST(Npy, HeaderVariantsThatNumpyHasWritten) {
  EXPECT_TRUE(status_of(npy_bytes("{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(1,)}", "abcd")).ok());
  EXPECT_TRUE(status_of(npy_bytes("{'shape': (1L,), 'fortran_order': False, 'descr': '<f4'}   \n", "abcd")).ok());
  EXPECT_TRUE(status_of(npy_bytes(header_text("<V2", "(2, 1)"), "abcd")).ok());
  EXPECT_TRUE(status_of(npy_bytes(header_text("<f4", "(0, 5)"), "")).ok());
  EXPECT_TRUE(status_of(npy_bytes(header_text("|b1", "(2,)"), std::string("\0\1", 2))).ok());
}

TEST(Npy, UnsupportedFilesAreRefusedInWords) {
  const auto expect = [](const std::string& header, const std::string& data, const std::string& text) {
    const Status status = status_of(npy_bytes(header, data));
    EXPECT_EQ(status.code(), StatusCode::kUnimplemented) << header;
    EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
  };
  expect(header_text(">f4", "(1,)"), "abcd", "big endian");
  expect(header_text("<c8", "(1,)"), "abcdefgh", "'<c8'");
  expect(header_text("|O", "(1,)"), "abcdefgh", "'|O'");
  expect(header_text("<V1", "(1,)"), "a", "8-bit");
  expect(header_text("<f4", "()"), "abcd", "0 axes");
  expect(header_text("<f4", "(1, 1, 1, 1, 1)"), "abcd", "5 axes");
  expect("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "abcd", "structured");
}

TEST(Npy, MalformedFilesAreErrors) {
  const auto expect = [](const std::string& bytes, const std::string& text) {
    const ScratchFile file(".npy", bytes);
    const Status status = read_npy(file.path()).status();
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << text;
    EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(file.path()), std::string::npos) << status.message();
  };
  const std::string good = header_text("<f4", "(1,)");
  expect("", "0 bytes");
  expect("\x93NUMPX\1\0\0\0\0\0", "at least 10");
  expect(std::string("\x93NUMPX\1\0\0\0\0\0", 12), "magic");
  expect(npy_bytes(good, "abc"), "needs 4 bytes");
  expect(npy_bytes(good, "abcde"), "has 5");
  expect(std::string("\x93NUMPY\1\0\xFF\xFF{", 11), "header length 65535");
  expect(std::string("\x93NUMPY\2\0\xFF\xFF\xFF\xFF{", 13), "header length 4294967295");
  expect(std::string("\x93NUMPY\2\0\xFF\xFF", 10), "truncated");
  expect(npy_bytes("", ""), "expected '{'");
  expect(npy_bytes("{", ""), "expected a string");
  expect(npy_bytes("{}", ""), "'descr' is missing");
  expect(npy_bytes("{'descr': '<f4', 'shape': (1,)}", "abcd"), "'fortran_order' is missing");
  expect(npy_bytes("{'descr': '<f4', 'descr': '<f4'}", ""), "appears twice");
  expect(npy_bytes("{'descr': '<f4', 'colour': 1}", ""), "'colour'");
  expect(npy_bytes("{'descr", ""), "unterminated");
  expect(npy_bytes(good + "x", "abcd"), "data after the dictionary");
  expect(npy_bytes(header_text("<f4", "(1,)", "Maybe"), "abcd"), "neither True nor False");
  expect(npy_bytes(header_text("<f4", "(1)"), "abcd"), "(n,)");
  expect(npy_bytes(header_text("<f4", "(-1,)"), "abcd"), "non-negative");
  expect(npy_bytes(header_text("<f4", "(1.0,)"), "abcd"), "(n,)");
  expect(npy_bytes(header_text("<f4", "(9223372036854775808,)"), "abcd"), "2^63");
  expect(npy_bytes(header_text("<f4", "(9223372036854775807,)"), "abcd"), "overflows");
  expect(npy_bytes(header_text("<f4", "(4294967296, 4294967296)"), "abcd"), "overflows");
  expect(npy_bytes(header_text("<f4", "(0, 9223372036854775807)"), ""), "overflows");
  expect(npy_bytes(header_text("<f4", "(1000000000000,)"), "abcd"), "needs 4000000000000 bytes");
  expect(npy_bytes(header_text("|b1", "(2,)"), "\1\2"), "boolean 2");
}

TEST(Npy, WhatIsNoFileIsRefused) {
  EXPECT_NE(read_npy("/nonexistent/a.npy").status().message().find("No such file"), std::string::npos);
  EXPECT_NE(read_npy("/").status().message().find("directory"), std::string::npos);
  EXPECT_FALSE(read_npy("/dev/null").ok());
  const float value = 0;
  EXPECT_EQ(write_npy("/nonexistent/a.npy", TensorView(&value, DType::f32, {1})).code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(write_npy("/nonexistent/a.npy", TensorView(&value, DType::e4m3, {1})).code(), StatusCode::kUnimplemented);
}

// Every truncation and thousands of changed bytes: a Status or a tensor that lies inside its memory, never a crash.
TEST(Npy, MutatedFilesNeverCrash) {
  const std::string good = npy_bytes(header_text("<f4", "(2, 3)"), std::string(24, 'x'));
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(status_of(good.substr(0, length)).ok()) << length;
  }
  std::mt19937 random(7);
  const ScratchFile file(".npy");
  int refused = 0;
  for (int round = 0; round < 600; ++round) {
    std::string bytes = good;
    for (unsigned change = 0; change <= random() % 3; ++change) {
      bytes[random() % (bytes.size() - 24)] = static_cast<char>(random());
    }
    file.write(bytes);
    const Result<Tensor> read = read_npy(file.path());
    refused += !read.ok();
    if (read.ok()) {
      EXPECT_EQ(read->bytes(), 24u);
    }
  }
  EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace octavo::io
