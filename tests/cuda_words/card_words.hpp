// The words of the machine's first CUDA card. No CUDA type is in here: the dump is plain C++.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "word_dump.hpp"
#include "word_kernels.hpp"

namespace octavo::cuda {

// What went wrong with the card, in words.
class CardError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Card {
  std::string name;
  std::unique_ptr<WordRunner> words;
};
Card open_card();  // throws a CardError

// Those of products of FP8, compiled for the GPUs that have them.
void launch_sm89(Word word, unsigned runs, const WordRuns& params);

// Hopper's, compiled for it alone. Pointers are the device's, but the box's base and the operands of the staged
// product.
void launch_sm90(Word word, unsigned runs, const WordRuns& params);
std::vector<std::uint32_t> box_on_card(const TensorBox& box, BoxPlace at);
int wrong_sums_on_card();

}  // namespace octavo::cuda
