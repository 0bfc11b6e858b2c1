// A recipe's fields by name, as text: what the grammar, the bindings and messages read and write.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "octavo/recipe.hpp"

namespace octavo::grammar {

// One field of Recipe: its name, its value as text, and the way back.
struct Field {
  std::string_view name;
  std::string (*get)(const Recipe&);
  bool (*set)(Recipe&, std::string_view text);  // false: no value of this field
  std::string (*words)();                       // all values of a field of words: "on, off"; nullptr: of numbers
  const char* numbers;                          // which numbers check_recipe takes

  // For messages.
  std::string allowed() const { return words != nullptr ? words() : numbers; }
};

std::span<const Field> fields() noexcept;
const Field* find_field(std::string_view name) noexcept;

// "a, b, c" of any range of things with a name.
template <class Range>
std::string list_of(const Range& range) {
  std::string text;
  for (const auto& item : range) {
    if (!text.empty()) text += ", ";
    text += item.name;
  }
  return text;
}

}  // namespace octavo::grammar
