// The dump's questions, put to the emulation: they find every place where the PTX ISA's tables have it. And, for each
// table that a card has answered with (tables/), that the emulation answers the same.
#include "word_dump.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <stdexcept>

#include "core/float_types.hpp"
#include "core/text.hpp"
#include "cuda/tile/matrix_descriptor.hpp"
#include "cuda/tile/wgmma_fragments.hpp"
#include "emulated_words.hpp"
#include "word_table.hpp"

namespace octavo::cuda {
namespace {

const WordTable& emulated_layouts() {
  static const WordTable table = [] {
    EmulatedWords words(90);
    return dump_layouts(words);
  }();
  return table;
}

// The numbers of a list of places or of numbers; null is no number.
std::vector<int> numbers_in(const std::string& json) {
  std::vector<int> numbers;
  for (std::size_t i = 0; i < json.size(); ++i) {
    if (json[i] == 'n') ADD_FAILURE() << "null in " << json.substr(0, 80);
    if (json[i] < '0' || json[i] > '9') continue;
    numbers.push_back(std::stoi(json.substr(i)));
    while (i < json.size() && json[i] >= '0' && json[i] <= '9') ++i;
  }
  return numbers;
}
// Of the member `name` of an object of lists.
std::vector<int> member(const std::string& json, const std::string& name) {
  const std::size_t begin = json.find("\"" + name + "\": [");
  if (begin == std::string::npos) return {};
  const std::size_t end = json.find('"', begin + name.size() + 2);
  return numbers_in(
      json.substr(begin + name.size() + 3, end == std::string::npos ? end : end - begin - name.size() - 3));
}

const WordTable& emulated_layouts_sm89() {
  static const WordTable table = [] {
    EmulatedWords words(89);
    return dump_layouts(words);
  }();
  return table;
}

template <int elements>
void expect_fragments(const std::string& word, const WordTable& layouts = emulated_layouts()) {
  std::vector<int> a, b;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4 * elements; ++i) {  // element i of a lane, over its registers
      a.push_back(i / elements % 2 == 0 ? lane / 4 : lane / 4 + 8);
      a.push_back(lane % 4 * elements + i % elements + (i < 2 * elements ? 0 : 4 * elements));
    }
    for (int i = 0; i < 2 * elements; ++i) {
      b.push_back(lane % 4 * elements + i % elements + (i < elements ? 0 : 4 * elements));
      b.push_back(lane / 4);
    }
  }
  const std::string& json = layouts.at(word);
  EXPECT_EQ(member(json, "a"), a) << word;
  EXPECT_EQ(member(json, "b"), b) << word;
}

TEST(WordDump, FindsTheFragmentsOfProducts) {
  expect_fragments<4>("mma_s8s8");
  expect_fragments<4>("mma_u8s8");
  expect_fragments<8>("mma_s4s4");
  expect_fragments<2>("mma_f16");
  expect_fragments<2>("mma_bf16");
  expect_fragments<2>("mma_f16_to_f16");
  expect_fragments<4>("mma_e4m3", emulated_layouts_sm89());
  expect_fragments<4>("mma_e4m3_to_f16", emulated_layouts_sm89());
}

// By the rule of the format: half to even, 448 for all that is larger.
TEST(WordDump, FindsHowNumbersAreRoundedToE4m3) {
  std::vector<int> expected(32);
  bool subnormal = false, saturated = false;
  for (std::size_t i = 0; i < 128; ++i) {
    const double exponent = static_cast<double>(i / 16 * 3) - 11;
    const double x = std::ldexp(1.0 + static_cast<double>(i % 16) / 16, static_cast<int>(exponent));
    const double step = std::ldexp(1.0, std::max(static_cast<int>(exponent), -6) - 3);
    const double rounded = std::min(std::nearbyint(x / step) * step, 448.0);
    subnormal |= rounded > 0 && rounded < 0x1p-6, saturated |= x > 448;
    int code = 0;
    while (e4m3_to_f32(static_cast<std::uint8_t>(code)) != static_cast<float>(rounded)) ASSERT_LT(++code, 127);
    if (i % 3 == 2) code |= 128;
    expected[i / 4] |= static_cast<int>(static_cast<unsigned>(code) << (8 * (i % 4)));
  }
  EXPECT_TRUE(subnormal && saturated);
  std::vector<int> words;
  const std::string& table = emulated_layouts_sm89().at("pack_e4m3");
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i] < '0' || table[i] > '9') continue;
    words.push_back(static_cast<int>(std::stoul(table.substr(i))));
    while (i < table.size() && table[i] >= '0' && table[i] <= '9') ++i;
  }
  EXPECT_EQ(words, expected);
}

TEST(WordDump, AsksGpusOnlyForWhatTheyHave) {
  EXPECT_EQ(emulated_layouts().count("mma_e4m3"), 0u);
  EXPECT_EQ(emulated_layouts_sm89().count("copy_bytes"), 0u);
  EmulatedWords ampere(80), blackwell(120);
  EXPECT_EQ(dump_layouts(ampere).count("mma_e4m3"), 0u);
  EXPECT_EQ(dump_layouts(blackwell).count("mma_e4m3"), 1u);
}

TEST(WordDump, FindsWhereLdmatrixCopiesAndShufflesPutThings) {
  std::vector<int> plain, transposed, copied, shuffled;
  for (int lane = 0; lane < 32; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const int row = lane / 4, column = lane % 4 * 2;
      plain.push_back((64 * matrix + 8 * row + column) + ((64 * matrix + 8 * row + column + 1) << 16));
      transposed.push_back((64 * matrix + 8 * column + row) + ((64 * matrix + 8 * (column + 1) + row) << 16));
    }
    for (int i = 0; i < 4; ++i) copied.push_back(lane % 4 == 3 ? 0 : 4 * (lane ^ 5) + i + 1);
  }
  for (int mask = 1; mask < 32; mask *= 2) {
    for (int lane = 0; lane < 32; ++lane) shuffled.push_back(lane ^ mask);
  }
  EXPECT_EQ(numbers_in(emulated_layouts().at("ldmatrix")), plain);
  EXPECT_EQ(numbers_in(emulated_layouts().at("ldmatrix_trans")), transposed);
  EXPECT_EQ(numbers_in(emulated_layouts().at("copy16")), copied);
  EXPECT_EQ(numbers_in(emulated_layouts().at("shuffle_xor")), shuffled);
  std::vector<int> bulk;
  for (int i = 0; i < 32; ++i) bulk.push_back(5 + i);
  EXPECT_EQ(numbers_in(emulated_layouts().at("copy_bytes")), bulk);
}

// Chunks of 16 bytes of a row as wide as the swizzle change places with the row's number.
TEST(WordDump, FindsTheSwizzlesOfProductsAndBoxes) {
  for (int width : {32, 64, 128}) {
    const auto lies_at = [&](int row, int byte) {
      const int chunk = byte / 16 ^ row % 8 * width / 128;
      return row * width + 16 * chunk + byte % 16;
    };
    std::vector<int> a, b;
    for (int row = 0; row < 64; ++row) {
      for (int k = 0; k < 32; ++k) {
        a.push_back(lies_at(row, k));
        if (row < 8) b.push_back(lies_at(row, k));
      }
    }
    const std::string& product = emulated_layouts().at(text("wgmma_s8s8_", width));
    EXPECT_EQ(member(product, "a"), a) << width;
    EXPECT_EQ(member(product, "b"), b) << width;

    const auto box_from = [&](int first_row, int first_column) {
      std::vector<int> words(static_cast<std::size_t>(2 * width));
      for (int row = 0; row < 8; ++row) {
        for (int byte = 0; byte < width; byte += 2) {
          const int r = first_row + row, c = first_column + byte / 2, at = lies_at(row, byte);
          const int element = r < 16 && c >= 0 && c < 64 ? 64 * r + c + 1 : 0;
          words[static_cast<std::size_t>(at / 4)] |= element << (at % 4 * 8);
        }
      }
      return words;
    };
    const std::string& box = emulated_layouts().at(text("box_", width));
    EXPECT_EQ(member(box, "inside"), box_from(4, 0)) << width;
    EXPECT_EQ(member(box, "outside"), box_from(12, -8)) << width;
  }
  std::vector<int> registers;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 16; ++i) {
      registers.push_back(i / 4 % 2 == 0 ? lane / 4 : lane / 4 + 8);
      registers.push_back(lane % 4 * 4 + i % 4 + (i < 8 ? 0 : 16));
    }
  }
  EXPECT_EQ(numbers_in(emulated_layouts().at("wgmma_s8s8_registers")), registers);
}

TEST(WordDump, FindsBoxesOfThreeAxes) {
  std::vector<int> words(24);
  for (int row = 0; row < 3; ++row) {
    for (int x = 0; x < 4; ++x) {  // of the second plane, and beyond 20 columns, nothing is there
      const int element = 3 * 5 * 24 + (1 + row) * 24 + 16 + x + 1;
      words[static_cast<std::size_t>((8 * row + x) / 2)] |= element << (16 * (x % 2));
    }
  }
  EXPECT_EQ(numbers_in(emulated_layouts().at("box_of_three_axes")), words);
}

TEST(WordDump, CountsWrongSums) {
  int counted = 0;
  for (const auto& [name, value] : emulated_layouts()) {
    if (name.find("_wrong_sums") == std::string::npos) continue;
    EXPECT_EQ(value, "0") << name;
    ++counted;
  }
  EXPECT_EQ(counted, 10);  // eight widths, a transposed operand and the staged product
}

TEST(WordDump, NamesTheWordsThatFail) {
  EXPECT_EQ(words_that_fail(emulated_layouts()), std::vector<std::string>());
  EmulatedWords words(90);
  EXPECT_EQ(words_that_fail(dump_sums(words)), std::vector<std::string>());
  WordTable table = emulated_layouts();
  table["mma_s8s8"].replace(table["mma_s8s8"].rfind("[0, 0]"), 6, "null");
  table["staged_product_wrong_sums"] = "10";
  table["copy16"] = "\"an illegal memory access\"";
  table["ldmatrix"] = "[1]";  // other places are for the comparison with the emulation
  EXPECT_EQ(words_that_fail(table), (std::vector<std::string>{"copy16", "mma_s8s8", "staged_product_wrong_sums"}));
}

TEST(WordDump, IsJsonWhateverTheCardIsCalled) {
  EXPECT_EQ(json_of("A \"card\"\\\n", 90, {{"a", "1"}}, {{"b", "[2]"}}),
            "{\n\"card\": \"A \\\"card\\\"\\\\ \",\n\"capability\": 90,\n\"a\": 1,\n\"b\": [2]\n}\n");
}

// The emulated words sum by the generations that they are modelled on; the cases tell generations apart.
TEST(WordDump, SumsFollowTheLawOfTheirCard) {
  EmulatedWords words(90);
  const WordTable sums = dump_sums(words), ampere = expected_sums(80), hopper = expected_sums(90);
  for (const char* name : {"sums_mma_f16", "sums_mma_bf16"}) {
    EXPECT_EQ(sums.at(name), ampere.at(name)) << name;
    EXPECT_NE(ampere.at(name), hopper.at(name)) << name;
  }
  for (const char* name : {"sums_wgmma_f16", "sums_wgmma_f16_registers", "sums_wgmma_bf16", "sums_wgmma_e4m3",
                           "sums_wgmma_e4m3_registers", "sums_wgmma_e5m2"}) {
    EXPECT_EQ(sums.at(name), hopper.at(name)) << name;
  }
  EmulatedWords ada(89);
  const std::string of_e4m3 = dump_sums(ada).at("sums_mma_e4m3");
  EXPECT_EQ(of_e4m3, expected_sums(89).at("sums_mma_e4m3"));
  EXPECT_NE(of_e4m3, expected_sums(120).at("sums_mma_e4m3"));
}

TEST(WordDump, APrimitiveThatThrowsHasItsErrorAsTheAnswer) {
  WordTable table;
  keep(table, "bad", []() -> std::string { throw std::runtime_error("a \"launch\" failed"); });
  keep(table, "good", [] { return std::string("[1]"); });
  EXPECT_EQ(table, (WordTable{{"bad", "\"a 'launch' failed\""}, {"good", "[1]"}}));
}

TEST(WordDump, ATableIsReadAsItWasWritten) {
  const std::string path = testing::TempDir() + "octavo_word_table.json";
  std::ofstream(path) << json_of("A GPU", 90, {{"a", "[1, 2]"}}, {{"b", "{\"c\": [3]}"}});
  EXPECT_EQ(read_table(path),
            (WordTable{{"card", "\"A GPU\""}, {"capability", "90"}, {"a", "[1, 2]"}, {"b", "{\"c\": [3]}"}}));
  std::remove(path.c_str());
  EXPECT_TRUE(read_table(path).empty());
}

// OCTAVO_WORD_TABLES: the files of tables/, where there are any.
#if defined(OCTAVO_WORD_TABLES)
class CommittedWords : public testing::TestWithParam<const char*> {};

TEST_P(CommittedWords, AreTheEmulations) {
  const WordTable table = read_table(GetParam());
  ASSERT_TRUE(table.count("capability") != 0 && table.count("mma_s8s8") != 0) << GetParam() << " is no table of words";
  const int capability = std::stoi(table.at("capability"));
  for (const auto& [name, value] : emulated_table(capability)) {
    ASSERT_EQ(table.count(name), 1u) << name;
    EXPECT_EQ(table.at(name), value) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Cards, CommittedWords, testing::Values(OCTAVO_WORD_TABLES));
#endif

}  // namespace
}  // namespace octavo::cuda
