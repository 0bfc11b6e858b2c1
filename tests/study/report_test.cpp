// Tables as CSV, Markdown and JSON, and plots.
#include "study/report.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "study/plot.hpp"

namespace octavo::study {
namespace {

Table example() {
  Table table{"t", "A caption.", {{"scheme", "scheme"}, {"data", "data"}, {"error", "error %", 100}, {"hidden", ""}}};
  table.rows = {{"a, \"b\"", "x", 0.0123456789012, 1.0}, {"c", "y", std::nan(""), 2.0}, {"c", "x", 0.5, 3.0}};
  return table;
}

TEST(Report, ShortNumbers) {
  for (const auto& [value, text] : {std::pair{0.0, "0"},
                                    {1.5e-5, "1.5e-05"},
                                    {0.1234, "0.123"},
                                    {0.9999, "1.00"},
                                    {12.34, "12.3"},
                                    {-1.234, "-1.23"},
                                    {123.4, "123"},
                                    {2e7, "2.0e+07"}}) {
    EXPECT_EQ(short_number(value), text);
  }
  EXPECT_EQ(short_number(std::nan("")), "");
}

TEST(Report, CsvAndMarkdownAndJson) {
  const Table table = example();
  EXPECT_EQ(to_csv(table), "scheme,data,error,hidden\n\"a, \"\"b\"\"\",x,0.0123456789,1\nc,y,,2\nc,x,0.5,3\n");
  EXPECT_EQ(to_markdown(table),
            "| scheme | data | error % |\n|---|---|--:|\n| a, \"b\" | x | 1.23 |\n| c | y |  |\n"
            "| c | x | 50.0 |\n");
  const Json json = to_json(table);
  EXPECT_EQ(json["rows"][0]["error"], 0.0123456789012);
  EXPECT_TRUE(json["rows"][1]["error"].is_null());
}

TEST(Report, PivotKeepsTheOrder) {
  const Table table = pivot(example(), "scheme", "data", "error", "p", "", 100);
  EXPECT_EQ(to_csv(table), "scheme,x,y\n\"a, \"\"b\"\"\",0.0123456789,\nc,0.5,\n");
}

TEST(Report, PageHasMarksAndBars) {
  Report report;
  report.answer = "It is so.", report.method = "By measurement.";
  report.tables = {example()};
  report.bars = {{"low", 1, 2, true}, {"high", 1, 2, false}};
  const std::string page = to_markdown("s", report);
  EXPECT_NE(page.find("<!-- octavo study s: answer -->\nIt is so.\n<!-- end of answer -->\n"), std::string::npos);
  EXPECT_NE(page.find("| low | 1.00 | <= 2.00 | yes |\n| high | 1.00 | >= 2.00 | **no** |\n"), std::string::npos);
  EXPECT_NE(page.find("<!-- octavo study s: t -->\nA caption.\n\n| scheme |"), std::string::npos);
}

TEST(Plot, PointsLieOnTheirAxes) {
  LinePlot plot{"a < b", "x", "y"};
  plot.log_x = plot.log_y = true;
  plot.series = {{"one", {{1024, 1}, {2048, 10}, {4096, 100}, {1024, 0}}}};
  const std::string svg = to_svg(plot);
  // The middle of both logarithmic axes: x from 66 to 586, y from 334 to 40; zero is not drawn.
  EXPECT_NE(svg.find("M66.0 334.0L326.0 187.0L586.0 40.0\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("a &lt; b"), std::string::npos);
  EXPECT_NE(svg.find(">2k<"), std::string::npos);
}

TEST(Plot, BarsHaveTheirLength) {
  BarPlot plot{"bars", "%"};
  plot.groups = {"g"};
  plot.series = {{"s", {50}}, {"t", {100}}};
  const std::string svg = to_svg(plot);
  EXPECT_NE(svg.find("width=\"230.0\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("width=\"460.0\""), std::string::npos);
}

}  // namespace
}  // namespace octavo::study
