// Printing of tables, JSON and progress.
#include "common/output.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <fstream>

#include "common/failure.hpp"

namespace octavo::tool {

std::FILE* text_stream(const std::string& json_target) { return json_target == "-" ? stderr : stdout; }

void write_json(const std::string& target, const Json& value) {
  if (target.empty()) return;
  // Names from files may hold any bytes.
  const std::string text = value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  if (target == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return;
  }
  std::ofstream file(target, std::ios::binary);
  file << text;
  file.close();
  if (!file) fail(kExitIo, "'" + target + "': cannot write");
}

void Table::print(std::FILE* stream, bool markdown) const {
  std::vector<std::size_t> widths(columns_.size(), markdown ? 3 : 0);
  for (const auto& row : rows_) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string cell = c < rows_[r].size() ? rows_[r][c] : "";
      const std::string space(widths[c] - cell.size(), ' ');
      line += markdown ? "| " : c > 0 ? "  " : "";
      line += columns_[c] == Align::left ? cell + space : space + cell;
      line += markdown ? " " : "";
    }
    line += markdown ? "|" : "";
    if (!markdown) line.erase(line.find_last_not_of(' ') + 1);
    std::fprintf(stream, "%s\n", line.c_str());
    if (!markdown || r > 0) continue;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      std::fprintf(stream, columns_[c] == Align::left ? "|:%s-" : "|-%s:", std::string(widths[c], '-').c_str());
    }
    std::fputs("|\n", stream);
  }
}

std::string format(const char* pattern, ...) {
  std::va_list arguments, again;
  va_start(arguments, pattern);
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, pattern, arguments);
  va_end(arguments);
  std::string text(static_cast<std::size_t>(std::max(length, 0)), '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

Progress::Progress() : terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() { show(""); }

void Progress::show(const std::string& line) const {
  if (!terminal_) return;
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
}

}  // namespace octavo::tool
