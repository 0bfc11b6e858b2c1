// cuda_primitive_compare TABLE.json: the answers of a GPU (cuda_primitive_dump) beside the emulation's, as JSON:
//   {"gpu": ..., "capability": 90, "equal": ["mma_s8s8", ...], "different": {"NAME": {"gpu": ..., "emulation": ...}}}
// Exit code: 0, 1 where an answer differs or is missing, 2 where the table cannot be read.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "emulated_words.hpp"
#include "word_table.hpp"

int main(int count, char** arguments) {
  using namespace octavo::cuda;
  if (count != 2) {
    std::fputs("usage: cuda_primitive_compare TABLE.json\n", stderr);
    return 2;
  }
  const WordTable table = read_table(arguments[1]);
  if (table.count("card") == 0 || table.count("capability") == 0) {
    std::fprintf(stderr, "cuda_primitive_compare: %s is not a table of cuda_primitive_dump\n", arguments[1]);
    return 2;
  }
  const int capability = std::atoi(table.at("capability").c_str());
  if (capability < 80) {
    std::fprintf(stderr, "cuda_primitive_compare: the table's capability is %d; 80 or more is allowed\n", capability);
    return 2;
  }
  std::string equal, different;
  for (const auto& [name, value] : emulated_table(capability)) {
    const auto found = table.find(name);
    if (found != table.end() && found->second == value) {
      equal += (equal.empty() ? "\"" : ", \"") + name + "\"";
      continue;
    }
    std::fprintf(stderr, "cuda_primitive_compare: %s differs from the emulation\n", name.c_str());
    different += (different.empty() ? "\n  \"" : ",\n  \"") + name +
                 "\": {\"gpu\": " + (found == table.end() ? "null" : found->second) + ",\n    \"emulation\": " + value +
                 "}";
  }
  std::printf("{\"gpu\": %s,\n \"capability\": %d,\n \"equal\": [%s],\n \"different\": {%s}}\n",
              table.at("card").c_str(), capability, equal.c_str(), different.c_str());
  return different.empty() ? 0 : 1;
}
