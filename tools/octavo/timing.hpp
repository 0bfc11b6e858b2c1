// Times of repeated calls: median, smallest, largest.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "output.hpp"

namespace octavo::tool {

template <class Call>
double microseconds(Call&& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
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
