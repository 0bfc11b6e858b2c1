// Times of repeated calls: median, smallest, largest, and how much of the processors they had.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "common/output.hpp"

namespace octavo::tool {

template <class Call>
double microseconds(Call&& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

inline double process_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Times {
  std::vector<double> microseconds;
  double cpu_share = 0;  // processor time of all threads over threads * time: near 1 if no other process ran
};

template <class Call>
Times repeat(int count, int threads, Call&& call) {
  Times times;
  const double used = process_seconds();
  double total = 0;
  for (int i = 0; i < count; ++i) total += times.microseconds.emplace_back(microseconds(call));
  times.cpu_share = (process_seconds() - used) / (1e-6 * total * threads);
  return times;
}

// Mean of the middle two for an even count; 0 of nothing.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

// {median, min, max}
inline Json time_json(const std::vector<double>& times) {
  return {{"median", median(times)},
          {"min", *std::min_element(times.begin(), times.end())},
          {"max", *std::max_element(times.begin(), times.end())}};
}

}  // namespace octavo::tool
