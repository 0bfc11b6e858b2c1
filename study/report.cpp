// Text made of tables. CSV has nine significant digits, pages three.
#include "study/report.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/output.hpp"

namespace octavo::study {
namespace {

using tool::format;

std::string csv_cell(const Cell& cell) {
  if (!cell.is_text) return std::isnan(cell.number) ? "" : format("%.9g", cell.number);
  const std::string& text = cell.text;
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string page_cell(const Cell& cell, double factor) {
  return cell.is_text ? cell.text : short_number(cell.number * factor);
}

std::string key_of(const Cell& cell) { return cell.is_text ? cell.text : format("%g", cell.number); }

std::size_t index_of(const Table& table, const std::string& key) {
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    if (table.columns[i].key == key) return i;
  }
  return table.columns.size();
}

template <class T>
std::size_t position(std::vector<T>& values, const T& value) {
  const auto found = std::find(values.begin(), values.end(), value);
  if (found != values.end()) return static_cast<std::size_t>(found - values.begin());
  values.push_back(value);
  return values.size() - 1;
}

std::string begin_mark(const std::string& study, const std::string& part) {
  return "<!-- octavo study " + study + ": " + part + " -->\n";
}
std::string end_mark(const std::string& part) { return "<!-- end of " + part + " -->\n"; }

}  // namespace

std::string short_number(double value) {
  if (std::isnan(value)) return "";
  if (value == 0) return "0";
  const double magnitude = std::fabs(value);
  if (magnitude < 0.00995 || magnitude >= 1e6) return format("%.1e", value);
  if (magnitude < 0.995) return format("%.3f", value);
  if (magnitude < 9.995) return format("%.2f", value);
  return magnitude < 99.95 ? format("%.1f", value) : format("%.0f", value);
}

Table pivot(const Table& table, const std::string& row, const std::string& column, const std::string& value,
            const std::string& name, const std::string& caption, double factor) {
  const std::size_t r = index_of(table, row), c = index_of(table, column), v = index_of(table, value);
  std::vector<std::string> rows, columns;
  for (const auto& cells : table.rows) {
    position(rows, key_of(cells[r]));
    position(columns, key_of(cells[c]));
  }
  Table result{name, caption, {{table.columns[r].key, table.columns[r].key, 1}}, {}};
  for (const std::string& text : columns) result.columns.push_back({text, text, factor});
  for (const std::string& text : rows) {
    result.rows.emplace_back(columns.size() + 1, Cell(std::numeric_limits<double>::quiet_NaN()));
    result.rows.back()[0] = Cell(text);
  }
  for (const auto& cells : table.rows) {
    result.rows[position(rows, key_of(cells[r]))][position(columns, key_of(cells[c])) + 1] = cells[v];
  }
  return result;
}

std::string to_markdown(const Table& table) {
  std::string head = "|", rule = "|", body;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    if (table.columns[c].heading.empty()) continue;
    const bool text = !table.rows.empty() && table.rows.front()[c].is_text;
    head += " " + table.columns[c].heading + " |";
    rule += text ? "---|" : "--:|";
  }
  for (const auto& row : table.rows) {
    body += "|";
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      if (!table.columns[c].heading.empty()) body += " " + page_cell(row[c], table.columns[c].factor) + " |";
    }
    body += "\n";
  }
  return head + "\n" + rule + "\n" + body;
}

std::string to_csv(const Table& table) {
  std::string text;
  for (std::size_t c = 0; c < table.columns.size(); ++c) text += (c > 0 ? "," : "") + csv_cell(table.columns[c].key);
  text += "\n";
  for (const auto& row : table.rows) {
    for (std::size_t c = 0; c < row.size(); ++c) text += (c > 0 ? "," : "") + csv_cell(row[c]);
    text += "\n";
  }
  return text;
}

Json to_json(const Table& table) {
  Json rows = Json::array();
  for (const auto& row : table.rows) {
    Json entry = Json::object();
    for (std::size_t c = 0; c < row.size(); ++c) {
      const Cell& cell = row[c];
      const Json number = std::isfinite(cell.number) ? Json(cell.number) : Json(nullptr);
      entry[table.columns[c].key] = cell.is_text ? Json(cell.text) : number;
    }
    rows.push_back(std::move(entry));
  }
  return {{"name", table.name}, {"caption", table.caption}, {"rows", std::move(rows)}};
}

std::string to_markdown(const std::string& study, const Report& report) {
  std::string text = begin_mark(study, "answer") + report.answer + "\n" + end_mark("answer");
  text += begin_mark(study, "method") + report.method + "\n" + end_mark("method");
  if (!report.bars.empty()) {
    text += begin_mark(study, "bars") + "| bar | measured | limit | holds |\n|---|--:|--:|---|\n";
    for (const Bar& bar : report.bars) {
      text += "| " + bar.text + " | " + short_number(bar.value) + " | " + (bar.at_most ? "<= " : ">= ") +
              short_number(bar.limit) + " | " + (bar.holds() ? "yes" : "**no**") + " |\n";
    }
    text += end_mark("bars");
  }
  for (const Table& table : report.tables) {
    if (!table.on_page) continue;
    text += begin_mark(study, table.name) + (table.caption.empty() ? "" : table.caption + "\n\n") + to_markdown(table) +
            end_mark(table.name);
  }
  return text;
}

}  // namespace octavo::study
