// What a study returns, and the files made of it: NAME_TABLE.csv with every column, NAME.json, NAME_PLOT.svg, and
// NAME.md, the answer, the bars and the tables as a page shows them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace octavo::study {

using Json = nlohmann::ordered_json;

// A text or a number; a number that does not exist is NaN: an empty cell.
struct Cell {
  Cell(std::string value) : text(std::move(value)), is_text(true) {}
  Cell(const char* value) : text(value), is_text(true) {}
  Cell(double value) : number(value) {}
  std::string text;
  double number = 0;
  bool is_text = false;
};

struct Column {
  std::string key;      // in CSV and JSON: relative_l2
  std::string heading;  // on the page: relative L2 %; empty: not on the page
  double factor = 1;    // the page shows the number times this
};

struct Table {
  std::string name;
  std::string caption;  // a line above the table on the page
  std::vector<Column> columns = {};
  std::vector<std::vector<Cell>> rows = {};
  bool on_page = true;
};

// A bar that a result must meet.
struct Bar {
  std::string text;
  double value, limit;
  bool at_most = true;  // or at least
  bool holds() const { return at_most ? value <= limit : value >= limit; }
};

struct Plot {
  std::string name, svg;
};

struct Report {
  std::string answer;  // the first lines of the page; every number in it is computed
  std::string method;  // shapes, distributions, seeds, metric
  std::vector<Table> tables;
  std::vector<Bar> bars;
  std::vector<Plot> plots;
  Json parameters = Json::object();
};

// A table of one row for each value of `row` and one column for each value of `column`, both in their order of
// appearance; cells are numbers of `value`. The page shows them times factor.
Table pivot(const Table& table, const std::string& row, const std::string& column, const std::string& value,
            const std::string& name, const std::string& caption, double factor = 1);

// Three significant digits: 0.214, 12.3, 1.2e-05; a NaN is an empty cell.
std::string short_number(double value);

std::string to_markdown(const Table& table);
std::string to_csv(const Table& table);
Json to_json(const Table& table);

// The sections of NAME.md, each between marks that scripts/study_pages.py finds again: answer, bars, the tables.
std::string to_markdown(const std::string& study, const Report& report);

}  // namespace octavo::study
