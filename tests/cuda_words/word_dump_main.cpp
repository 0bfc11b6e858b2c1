// cuda_word_dump: asks the machine's first card what each word does and prints the answers as JSON, to be kept as
// tests/cuda_words/tables/CARD.json. Exit code 0; 1 where sums are wrong or answers fit no documented place, which the
// standard error names; 2 without a card that can answer.
#include <cstdio>
#include <exception>
#include <string>

#include "card_words.hpp"

int main() {
  try {
    const octavo::cuda::Card card = octavo::cuda::open_card();
    const auto layouts = octavo::cuda::dump_layouts(*card.words), sums = octavo::cuda::dump_sums(*card.words);
    const std::string json = octavo::cuda::json_of(card.name, card.words->capability(), layouts, sums);
    if (std::fwrite(json.data(), 1, json.size(), stdout) != json.size() || std::fflush(stdout) != 0) {
      std::fputs("cuda_word_dump: the standard output cannot be written\n", stderr);
      return 1;
    }
    auto failed = octavo::cuda::words_that_fail(layouts);
    for (const std::string& word : octavo::cuda::words_that_fail(sums)) failed.push_back(word);
    for (const std::string& word : failed) {
      std::fprintf(stderr, "cuda_word_dump: %s: wrong sums, or answers that fit no documented place\n", word.c_str());
    }
    return failed.empty() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_word_dump: %s\n", error.what());
    return 2;
  }
}
