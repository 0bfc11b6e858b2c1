// SVG pictures without a library: lines over a linear or logarithmic axis, and grouped horizontal bars. Colours are
// readable on a light and on a dark page.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace octavo::study {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points = {};  // (x, y); with a logarithmic axis only positive ones are drawn
  bool line = true;                                    // or points alone
  std::string labels_of_points = {};  // unused where empty; else one text for each point, by line breaks
};

struct LinePlot {
  std::string title, x_label, y_label;
  bool log_x = false, log_y = false;
  bool x_from_zero = true;  // of a linear axis
  std::vector<Series> series = {};
};

struct BarPlot {
  std::string title, value_label;
  bool log = false;
  std::vector<std::string> groups = {};  // one block of bars each
  // A bar in every block: a value for each group.
  std::vector<std::pair<std::string, std::vector<double>>> series = {};
};

std::string to_svg(const LinePlot& plot);
std::string to_svg(const BarPlot& plot);

}  // namespace octavo::study
