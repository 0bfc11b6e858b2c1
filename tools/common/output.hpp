// Where results go: a table for people, one JSON object for programs. Data on stdout, diagnostics on stderr.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace octavo::tool {

using Json = nlohmann::ordered_json;

inline constexpr int kSchemaVersion = 1;

// Where a table is printed: stdout, unless the JSON object goes there.
std::FILE* text_stream(const std::string& json_target);

// "" does nothing, "-" is stdout, anything else a file's name.
void write_json(const std::string& target, const Json& value);

// Rows of text in aligned columns; the first row is the head.
class Table {
 public:
  enum class Align { left, right };
  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void print(std::FILE* stream, bool markdown = false) const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

// One line on stderr that is overwritten by the next; only on a terminal.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(const std::string& line) const;

 private:
  bool terminal_;
};

}  // namespace octavo::tool
