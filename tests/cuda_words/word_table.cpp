#include "word_table.hpp"

#include <fstream>

namespace octavo::cuda {

WordTable read_table(const std::string& path) {
  WordTable table;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t name_end = line.find("\": ");
    if (name_end == std::string::npos) continue;
    std::string value = line.substr(name_end + 3);
    if (!value.empty() && value.back() == ',') value.pop_back();
    table[line.substr(1, name_end - 1)] = value;
  }
  return table;
}

}  // namespace octavo::cuda
