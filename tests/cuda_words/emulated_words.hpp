// The words of the emulated machines, as the dump asks for them.
#pragma once

#include "word_dump.hpp"

namespace octavo::cuda {

class EmulatedWords : public WordRunner {
 public:
  explicit EmulatedWords(int capability) : capability_(capability) {}
  int capability() const override { return capability_; }
  std::vector<std::uint32_t> run(Word word, std::size_t runs, const std::vector<std::uint32_t>& in,
                                 std::size_t out_words) override;
  std::vector<std::uint32_t> run_box(TensorBox box, std::size_t bytes, BoxPlace at) override;
  int wrong_sums() override;

 private:
  int capability_;
};

// The emulation's answers, with sums as a GPU of this capability makes them.
WordTable emulated_table(int capability);

}  // namespace octavo::cuda
