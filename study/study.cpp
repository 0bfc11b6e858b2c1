// The list of studies.
#include "study/study.hpp"

namespace octavo::study {

const std::vector<Study>& studies() {
  static const std::vector<Study> all = {
      {"paper", "Are the papers' accuracy tables reproduced, and what does the default reach on the same data?", true,
       run_paper},
      {"v", "How should V and P be represented, for accuracy and for speed?", true, run_v},
      {"qk", "Which granularity and smoothing do Q and K need in 8 and in 4 bits?", true, run_qk},
      {"length", "How does the error depend on the length and the size of a model?", false, run_length},
      {"formats", "FP8 or INT8, 8 or 4 bits: which format at which cost?", true, run_formats},
      {"overhead", "What do scales cost in memory and error, and where does the time of a call go?", false,
       run_overhead},
      {"processors", "What do integers gain on each processor, and how near is its peak?", false, run_processors},
      {"depth", "How does the error grow through a stack of layers?", false, run_depth},
  };
  return all;
}

}  // namespace octavo::study
