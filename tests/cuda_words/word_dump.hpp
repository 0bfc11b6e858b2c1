// What the words of a machine do, found by running them: which elements of the operands meet in which sum, where bytes
// go, what sums of floats keep. The same questions to a card and to the emulation; the answers are text, a line a word.
//
// Products tell which element of A meets which of B in which sum, no more: places are named after the sums' documented
// ones, and the depth after the documented place in the other operand. null: the answers fit no such place.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda/tile/fragments.hpp"
#include "cuda/tile/tensor_box.hpp"
#include "word_kernels.hpp"

namespace octavo::cuda {

enum class Word {
#define OCTAVO_WORD(name, warps, shared_bytes, kernel) name,
#define OCTAVO_WORD_SM89 OCTAVO_WORD
#define OCTAVO_WORD_SM90 OCTAVO_WORD
#include "words.inc"
#undef OCTAVO_WORD
#undef OCTAVO_WORD_SM89
#undef OCTAVO_WORD_SM90
};

// The GPUs that a word is asked of.
enum class WordCards { all, e4m3, hopper };
inline bool has_word(WordCards cards, int capability) {
  return cards == WordCards::all ||
         (cards == WordCards::e4m3 ? capability == 89 || (capability >= 120 && capability < 130) : capability == 90);
}

// A card or the emulation.
class WordRunner {
 public:
  virtual ~WordRunner() = default;
  virtual int capability() const = 0;  // 80, 90, ...
  // `runs` of the word, each with its own part of `in`; each one's `out_words` results.
  virtual std::vector<std::uint32_t> run(Word word, std::size_t runs, const std::vector<std::uint32_t>& in,
                                         std::size_t out_words) = 0;
  // A box at an element; `box.base` is the host's, `bytes` of it. Its words.
  virtual std::vector<std::uint32_t> run_box(TensorBox box, std::size_t bytes, BoxPlace at) = 0;
  // How many sums of a staged product (staged_product.hpp) are wrong.
  virtual int wrong_sums() = 0;
};

// Answers by name, each one JSON value on one line. What throws has its error, a JSON string, as the answer.
using WordTable = std::map<std::string, std::string>;
WordTable dump_layouts(WordRunner& runner);
WordTable dump_sums(WordRunner& runner);
// The sums as the law of tensor cores has them of a card.
WordTable expected_sums(int capability);

// Primitives whose answers fit no documented place (null), are wrong sums, or could not be asked for (a string: the
// error); a correct GPU has none.
std::vector<std::string> words_that_fail(const WordTable& table);

std::string json_of(const std::string& card, int capability, const WordTable& layouts, const WordTable& sums);

}  // namespace octavo::cuda
