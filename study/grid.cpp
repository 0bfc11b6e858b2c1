// Loops over schemes and data.
#include "study/grid.hpp"

#include <cmath>

#include "common/capture.hpp"
#include "common/output.hpp"
#include "study/distributions.hpp"

namespace octavo::study {

using tool::format;

std::vector<DataSet> data_sets(const Options& options, const std::vector<std::string>& names, const Shape& shape) {
  std::vector<DataSet> sets;
  if (!options.captures.empty()) {
    options.progress("exact answers of " + options.captures);
    sets.push_back({"captures", captured_problems(options.captures), true});
    return sets;
  }
  for (const std::string& name : names) {
    options.progress("exact answers, " + name);
    DataSet set{name, {}, false};
    for (int i = 0; i < options.seeds; ++i) {
      set.problems.push_back(make_problem(distribution(name), shape, options.seed + static_cast<std::uint64_t>(i)));
    }
    sets.push_back(std::move(set));
  }
  if (!options.quick) {
    options.progress("exact answers, captures");
    sets.push_back({"captures", captured_problems(tool::find_default_capture()), true});
  }
  return sets;
}

std::string said(const Options& options, const Shape& shape) {
  if (!options.captures.empty()) return "Captures of the file given, a sample for each head.";
  std::string text = to_string(shape) + format("; %d seeds from %llu, a sample each, mean and standard deviation",
                                               options.seeds, static_cast<unsigned long long>(options.seed));
  return text + (options.quick ? "." : "; captures: the layers of data/, causal, a sample for each head.");
}

Table grid(const std::string& name, const std::vector<NamedScheme>& schemes, const std::vector<DataSet>& data,
           const Options& options) {
  Table table{name, "", {{"scheme", "scheme"}, {"data", "data"}}, {}, false};
  for (Column& column : metric_columns()) table.columns.push_back(std::move(column));
  std::size_t done = 0;
  for (const NamedScheme& scheme : schemes) {
    for (const DataSet& set : data) {
      options.progress(
          format("%s on %s (%zu of %zu)", scheme.name.c_str(), set.name.c_str(), ++done, schemes.size() * data.size()));
      std::vector<Cell> row{scheme.name, set.name};
      for (Cell& cell : metric_cells(measure(set.problems, scheme.scheme, set.by_head))) row.push_back(std::move(cell));
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

double figure(const Table& table, const std::string& scheme, const std::string& data, const std::string& key) {
  for (const auto& row : table.rows) {
    if (row[0].text != scheme || row[1].text != data) continue;
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (table.columns[c].key == key) return row[c].number;
    }
  }
  return std::nan("");
}

}  // namespace octavo::study
