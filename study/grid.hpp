// Every scheme on every data set: a long table with all metrics, from which pages take what they show.
#pragma once

#include <string>
#include <vector>

#include "study/measure.hpp"
#include "study/study.hpp"

namespace octavo::study {

struct NamedScheme {
  std::string name;
  Scheme scheme;
};

struct DataSet {
  std::string name;
  std::vector<Problem> problems;  // a sample each, or by_head for each of their heads
  bool by_head = false;
};

// Distributions by name, `seeds` problems each; then the captures of data/, unless quick. With --captures: the user's
// file alone.
std::vector<DataSet> data_sets(const Options& options, const std::vector<std::string>& names, const Shape& shape);
// "2 heads, 64 x 4096, D 128; seeds 1 to 5; captures: data/ ...": the beginning of a method.
std::string said(const Options& options, const Shape& shape);

// Columns scheme, data, and those of metric_columns().
Table grid(const std::string& name, const std::vector<NamedScheme>& schemes, const std::vector<DataSet>& data,
           const Options& options);
// A number of that table; NaN where there is no such row.
double figure(const Table& table, const std::string& scheme, const std::string& data,
              const std::string& key = "relative_l2");

}  // namespace octavo::study
