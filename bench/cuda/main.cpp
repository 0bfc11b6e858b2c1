// cuda_first_measurements: what a GPU's units do by themselves, as JSON on the standard output.
//   cuda_first_measurements [--list] [--only PREFIX] [--seconds S]
// Ends with 2 for a wrong argument, 3 where there is no GPU, 1 where a measurement failed.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench.hpp"

namespace {

int usage(const char* what, const char* argument) {
  std::fprintf(stderr,
               "cuda_first_measurements: %s%s\nusage: cuda_first_measurements [--list] [--only PREFIX] [--seconds S]\n",
               what, argument);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace octavo::bench;
  Bench::Options options;
  for (int i = 1; i < argc; ++i) {
    const char* const next = i + 1 < argc ? argv[i + 1] : nullptr;
    if (std::strcmp(argv[i], "--list") == 0) {
      options.list = true;
      continue;
    }
    const bool only = std::strcmp(argv[i], "--only") == 0;
    if (!only && std::strcmp(argv[i], "--seconds") != 0) return usage("unknown argument ", argv[i]);
    if (next == nullptr) return usage("a value is missing behind ", argv[i]);
    if (only) {
      options.only = next;
    } else {
      char* end = nullptr;
      options.seconds = std::strtod(next, &end);
      if (end == next || *end != '\0' || !(options.seconds > 0 && options.seconds <= 60)) {
        return usage("--seconds takes a number above 0, up to 60, not ", next);
      }
    }
    ++i;
  }
  Bench bench(options);
  if (!options.list) {
    if (const std::string error = bench.open(); !error.empty()) {
      std::fprintf(stderr, "cuda_first_measurements: %s\n", error.c_str());
      return 3;
    }
  }
  measure_wgmma_peak(bench);
  measure_register_split(bench);
  measure_mma_peak(bench);
  measure_instruction_rates(bench);
  measure_accumulator_width(bench);
  if (!bench.any()) return usage("no measurement begins with ", options.only.c_str());
  if (!options.list) std::fputs(bench.json().c_str(), stdout);
  return bench.failed() ? 1 : 0;
}
