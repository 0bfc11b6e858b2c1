// Tables of answers: filled one primitive at a time, read back from a file.
#pragma once

#include <exception>
#include <string>

#include "word_dump.hpp"

namespace octavo::cuda {

// The answer of `dump`, or the error that it threw as a JSON string: one primitive does not hide the others.
template <class Dump>
void keep(WordTable& table, const char* name, const Dump& dump) {
  try {
    table[name] = dump();
  } catch (const std::exception& error) {
    std::string message = error.what();
    for (char& c : message) c = c == '"' || c == '\\' ? '\'' : static_cast<unsigned char>(c) < 32 ? ' ' : c;
    table[name] = "\"" + message + "\"";
  }
}

// What json_of() wrote, "card" and "capability" among the answers; empty where the file cannot be read.
WordTable read_table(const std::string& path);

}  // namespace octavo::cuda
