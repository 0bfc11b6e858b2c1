// A study: a name, a question, and a function from options to tables, plots, bars and an answer. octavo study NAME
// runs one and writes what it returns (study/report.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "study/report.hpp"

namespace octavo::study {

struct Options {
  bool quick = false;      // small shapes and few seeds: under a minute
  std::uint64_t seed = 1;  // the first one; others follow it
  int seeds = 5;           // how many
  std::string captures;    // a file of the user's own Q, K and V; empty: the study's data
  std::function<void(const std::string&)> progress;
};

struct Study {
  const char* name;
  const char* question;
  bool reads_captures;  // --captures has a meaning
  Report (*run)(const Options&);
};

// In the order in which they were asked.
const std::vector<Study>& studies();

Report run_paper(const Options&);
Report run_v(const Options&);
Report run_qk(const Options&);
Report run_length(const Options&);
Report run_formats(const Options&);
Report run_overhead(const Options&);
Report run_processors(const Options&);
Report run_depth(const Options&);

}  // namespace octavo::study
