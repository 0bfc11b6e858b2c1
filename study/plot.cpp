// Pixels from numbers. An axis is a range of values and a range of pixels; ticks stand at 1, 2, 5 times powers of ten,
// on a logarithmic axis at powers of ten (on the lower one of two, if it begins at one and spans a factor below 300).
#include "study/plot.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "common/output.hpp"

namespace octavo::study {
namespace {

using tool::format;

constexpr const char* kColours[] = {"#2f7fd1", "#d1495b", "#2a9d6f", "#c98a10", "#8a63c9",
                                    "#12a0b0", "#b85c9e", "#7f8c3a", "#a0653a", "#7a828c"};
constexpr std::size_t kColourCount = std::size(kColours);
constexpr const char* kDashes[] = {"", "6 3", "2 3"};

const char* colour(std::size_t i) { return kColours[i % kColourCount]; }

constexpr const char* kStyle =
    "<style>text{font:12px sans-serif;fill:#333}.t{font-size:15px}.a{stroke:#777;fill:none}"
    ".g{stroke:#8884;fill:none}.b{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.b{fill:#14181d}}</style>";

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    result += c == '&'   ? std::string("&amp;")
              : c == '<' ? std::string("&lt;")
              : c == '>' ? std::string("&gt;")
                         : std::string(1, c);
  }
  return result;
}

std::string text_at(double x, double y, const std::string& text, const char* anchor = "start", const char* extra = "") {
  return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, extra) + escaped(text) + "</text>\n";
}

std::string tick_text(double value) {
  if (value >= 1024 && value == std::floor(value) && std::fmod(value, 1024) == 0) return format("%gk", value / 1024);
  return format("%g", value);
}

class Axis {
 public:
  // binary: powers of two may serve as ticks.
  Axis(double low, double high, bool log, double from, double to, bool binary = false, bool from_zero = true)
      : log_(log), from_(from), to_(to) {
    if (!(low <= high)) low = high = 1;  // nothing to draw
    if (log) {
      binary_ = binary && high / low < 300 && std::exp2(std::round(std::log2(low))) == low;
      const double base = binary_ ? 2 : 10;
      const auto step = [base](double v, bool up) {
        const double e = std::log(v) / std::log(base);
        return std::pow(base, up ? std::ceil(e - 1e-9) : std::floor(e + 1e-9));
      };
      low_ = step(low, false), high_ = std::max(step(high, true), low_ * base);
      for (double tick = low_; tick <= high_ * 1.001; tick *= base) ticks_.push_back(tick);
    } else {
      if (from_zero) low = std::min(low, 0.0);
      const double rough = std::max(high - low, 1e-300) / 5;
      const double power = std::pow(10, std::floor(std::log10(rough)));
      const double step = rough <= power       ? power
                          : rough <= 2 * power ? 2 * power
                          : rough <= 5 * power ? 5 * power
                                               : 10 * power;
      low_ = step * std::floor(low / step), high_ = step * std::ceil(high / step - 1e-9);
      for (double tick = low_; tick <= high_ + step / 2; tick += step) {
        ticks_.push_back(std::fabs(tick) < step / 1e6 ? 0 : tick);
      }
    }
  }
  double at(double value) const {
    const double share = log_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return from_ + share * (to_ - from_);
  }
  double from() const { return from_; }
  const std::vector<double>& ticks() const { return ticks_; }
  bool holds(double value) const { return std::isfinite(value) && (!log_ || value > 0); }

 private:
  bool log_, binary_ = false;
  double from_, to_, low_ = 0, high_ = 1;
  std::vector<double> ticks_;
};

std::string opening(double width, double height, const std::string& title) {
  return format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\">", width, height) + kStyle +
         "<rect class=\"b\" width=\"100%\" height=\"100%\"/>\n" + text_at(14, 22, title, "start", " class=\"t\"");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double value, bool log) {
    if (!std::isfinite(value) || (log && value <= 0)) return;
    low = std::min(low, value), high = std::max(high, value);
  }
};

// A circle, a square or a diamond: colours repeat after ten series.
std::string marker(double x, double y, double r, std::size_t index) {
  const std::size_t kind = index / kColourCount % 3;
  if (kind == 0) return format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"/>\n", x, y, r, colour(index));
  return format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"%s/>\n", x - r, y - r, 2 * r,
                2 * r, colour(index), kind == 1 ? "" : format(" transform=\"rotate(45 %.1f %.1f)\"", x, y).c_str());
}

std::string drawn(const Series& series, std::size_t index, const Axis& x, const Axis& y) {
  std::string path, marks;
  const std::vector<std::string> labels = lines_of(series.labels_of_points);
  for (std::size_t i = 0; i < series.points.size(); ++i) {
    const auto& [px, py] = series.points[i];
    if (!x.holds(px) || !y.holds(py)) continue;
    path += format("%s%.1f %.1f", path.empty() ? "M" : "L", x.at(px), y.at(py));
    marks += marker(x.at(px), y.at(py), series.line ? 2.5 : 4, index);
    if (i < labels.size()) marks += text_at(x.at(px) + 6, y.at(py) + 4, labels[i]);
  }
  if (!series.line || path.empty()) return marks;
  return format("<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\"/>\n",
                path.c_str(), colour(index), kDashes[index / kColourCount % std::size(kDashes)]) +
         marks;
}

}  // namespace

std::string to_svg(const LinePlot& plot) {
  std::size_t longest = 0;
  for (const Series& series : plot.series) longest = std::max(longest, series.name.size());
  const bool key = longest > 0;
  const double plot_width = 520, left = 66, top = 40;
  const double height = std::max(380.0, 60.0 + 18 * static_cast<double>(plot.series.size()));
  const double bottom = height - 46, right = left + plot_width;
  const double width = right + (key ? 46 + 6.6 * static_cast<double>(longest) : 24);
  Range xs, ys;
  for (const Series& series : plot.series) {
    for (const auto& [px, py] : series.points) xs.add(px, plot.log_x), ys.add(py, plot.log_y);
  }
  const Axis x(xs.low, xs.high, plot.log_x, left, right, true, plot.x_from_zero),
      y(ys.low, ys.high, plot.log_y, bottom, top);
  std::string svg = opening(width, height, plot.title);
  for (const double tick : y.ticks()) {
    svg += format("<path class=\"g\" d=\"M%.1f %.1fH%.1f\"/>\n", left, y.at(tick), right);
    svg += text_at(left - 6, y.at(tick) + 4, tick_text(tick), "end");
  }
  for (const double tick : x.ticks()) {
    svg += format("<path class=\"a\" d=\"M%.1f %.1fv5\"/>\n", x.at(tick), bottom);
    svg += text_at(x.at(tick), bottom + 18, tick_text(tick), "middle");
  }
  svg += format("<path class=\"a\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", left, top, bottom, right);
  svg += text_at((left + right) / 2, bottom + 36, plot.x_label, "middle");
  svg += text_at(0, 0, plot.y_label, "middle",
                 format(" transform=\"translate(16 %.1f) rotate(-90)\"", (top + bottom) / 2).c_str());
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    svg += drawn(plot.series[i], i, x, y);
    const double ky = top + 8 + 18 * static_cast<double>(i);
    if (!key) continue;
    svg += plot.series[i].line
               ? format("<path d=\"M%.1f %.1fh20\" stroke=\"%s\" stroke-width=\"2.5\" stroke-dasharray=\"%s\"/>\n",
                        right + 12, ky, colour(i), kDashes[i / kColourCount % std::size(kDashes)])
               : marker(right + 22, ky, 4, i);
    svg += text_at(right + 38, ky + 4, plot.series[i].name);
  }
  return svg + "</svg>\n";
}

std::string to_svg(const BarPlot& plot) {
  std::size_t longest = 0, key = 0;
  for (const std::string& group : plot.groups) longest = std::max(longest, group.size());
  for (const auto& [name, values] : plot.series) key = std::max(key, name.size());
  const bool one = plot.series.size() == 1;
  const double bar = one ? 16 : 10, gap = 10;
  const double block = bar * static_cast<double>(plot.series.size()) + gap;
  const double left = 24 + 6.8 * static_cast<double>(longest), right = left + 460, top = 40;
  const double bottom = top + std::max(block * static_cast<double>(plot.groups.size()),
                                       one ? 0 : 18.0 * static_cast<double>(plot.series.size()));
  const double width = right + (one ? 70 : 96 + 6.6 * static_cast<double>(key));
  Range range;
  for (const auto& [name, values] : plot.series) {
    for (const double value : values) range.add(value, plot.log);
  }
  // A bar's length must say something: a logarithmic axis begins below its shortest bar.
  const Axis x(plot.log ? range.low / 2 : 0, range.high, plot.log, left, right);
  std::string svg = opening(width, bottom + 50, plot.title);
  for (const double tick : x.ticks()) {
    svg += format("<path class=\"g\" d=\"M%.1f %.1fV%.1f\"/>\n", x.at(tick), top, bottom);
    svg += text_at(x.at(tick), bottom + 16, tick_text(tick), "middle");
  }
  svg += text_at((left + right) / 2, bottom + 34, plot.value_label, "middle");
  for (std::size_t g = 0; g < plot.groups.size(); ++g) {
    const double y0 = top + block * static_cast<double>(g) + gap / 2;
    svg += text_at(left - 8, y0 + (block - gap) / 2 + 4, plot.groups[g], "end");
    for (std::size_t s = 0; s < plot.series.size(); ++s) {
      const double value = plot.series[s].second[g];
      if (!x.holds(value)) continue;
      const double y = y0 + bar * static_cast<double>(s);
      svg += format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", left, y,
                    std::max(x.at(value) - left, 0.5), bar - 1, colour(s));
      svg += format("<text x=\"%.1f\" y=\"%.1f\" style=\"font-size:%dpx\">", x.at(value) + 4, y + bar / 2 + 3.5,
                    one ? 11 : 9) +
             format("%.3g", value) + "</text>\n";
    }
  }
  svg += format("<path class=\"a\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", left, top, bottom, right);
  for (std::size_t s = 0; !one && s < plot.series.size(); ++s) {
    const double y = top + 8 + 18 * static_cast<double>(s);
    svg +=
        format("<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"10\" fill=\"%s\"/>\n", right + 60, y - 5, colour(s));
    svg += text_at(right + 80, y + 4, plot.series[s].first);
  }
  return svg + "</svg>\n";
}

}  // namespace octavo::study
