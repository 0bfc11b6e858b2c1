// cuda_primitive_dump: asks the machine's first GPU what each primitive does and prints the answers as JSON, to be kept
// as tests/cuda_words/tables/GPU.json. Exit code 0; 1 where sums are wrong, answers fit no documented place or a call
// of the CUDA runtime fails, which the standard error names; 3 without a GPU.
#include <cstdio>
#include <exception>
#include <string>

#include "card_words.hpp"

namespace {

octavo::cuda::Card gpu_or_none() {
  try {
    return octavo::cuda::open_card();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_primitive_dump: %s\n", error.what());
    return {};
  }
}

}  // namespace

int main() {
  using namespace octavo::cuda;
  const Card gpu = gpu_or_none();
  if (gpu.words == nullptr) return 3;
  const WordTable layouts = dump_layouts(*gpu.words), sums = dump_sums(*gpu.words);
  const std::string json = json_of(gpu.name, gpu.words->capability(), layouts, sums);
  if (std::fwrite(json.data(), 1, json.size(), stdout) != json.size() || std::fflush(stdout) != 0) {
    std::fputs("cuda_primitive_dump: the standard output cannot be written\n", stderr);
    return 1;
  }
  bool failed = false;
  for (const WordTable* table : {&layouts, &sums}) {
    for (const std::string& name : words_that_fail(*table)) {
      const std::string& answer = table->at(name);
      std::fprintf(stderr, "cuda_primitive_dump: %s: %s\n", name.c_str(),
                   answer.front() == '"' ? answer.c_str() : "wrong sums, or answers that fit no documented place");
      failed = true;
    }
  }
  return failed ? 1 : 0;
}
