// The table of presets and the grammar "preset,field=value,...": from text, to text.
#include "octavo/recipe.hpp"

#include <algorithm>
#include <utility>

#include "core/guard.hpp"
#include "core/quoted.hpp"
#include "core/text.hpp"
#include "recipes/recipe_fields.hpp"

namespace octavo {
namespace {

std::string_view trimmed(std::string_view part) {
  while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
  while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
  return part;
}

const RecipeInfo* find_preset(std::string_view name) {
  for (const RecipeInfo& info : recipes()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

Status unknown_field(std::string_view name) {
  return invalid_argument("recipe field ", quoted(name), " is unknown; fields are ",
                          grammar::list_of(grammar::fields()));
}

// How many fields of two recipes differ.
int distance(const Recipe& a, const Recipe& b) {
  int differing = 0;
  for (const grammar::Field& field : grammar::fields()) differing += field.get(a) != field.get(b);
  return differing;
}

Result<Recipe> parse(std::string_view whole) {
  std::string_view rest = whole;
  bool more = true;
  const auto next_part = [&] {
    const std::size_t comma = rest.find(',');
    const std::string_view part = trimmed(rest.substr(0, comma));
    more = comma != std::string_view::npos;
    rest = more ? rest.substr(comma + 1) : std::string_view{};
    return part;
  };

  const std::string_view name = next_part();
  const RecipeInfo* preset = find_preset(name);
  if (preset == nullptr) {
    return invalid_argument("recipe ", quoted(name), " is unknown; recipes are ", grammar::list_of(recipes()));
  }
  Recipe recipe = preset->recipe;
  std::vector<std::string_view> given;
  while (more) {
    const std::string_view part = next_part();
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      return invalid_argument("recipe option ", quoted(part), " in ", quoted(whole), " is not of the form field=value");
    }
    const std::string_view field = trimmed(part.substr(0, equals));
    Status status = set_recipe_field(recipe, field, trimmed(part.substr(equals + 1)));
    if (!status.ok()) return status;
    // The last one would win in silence.
    if (std::find(given.begin(), given.end(), field) != given.end()) {
      return invalid_argument("recipe field ", field, " stands twice in ", quoted(whole), "; it is allowed once");
    }
    given.push_back(field);
  }
  if (Status status = check_recipe(recipe); !status.ok()) return status;
  return recipe;
}

}  // namespace

const std::vector<RecipeInfo>& recipes() {
  // Never destroyed: calls from other threads may still be running while the process ends.
  static const auto* const kRecipes = new std::vector<RecipeInfo>{
#define OCTAVO_RECIPE(name, summary, ...) {#name, Recipe{__VA_ARGS__}, summary},
#include "recipes/recipes.inc"
#undef OCTAVO_RECIPE
  };
  return *kRecipes;
}

Result<Recipe> parse_recipe(std::string_view whole) noexcept {
  return guarded([&] { return parse(whole); });
}

std::string to_string(const Recipe& recipe) {
  const RecipeInfo* nearest = &recipes().front();
  for (const RecipeInfo& info : recipes()) {
    if (distance(recipe, info.recipe) < distance(recipe, nearest->recipe)) nearest = &info;
  }
  std::string words(nearest->name);
  for (const grammar::Field& field : grammar::fields()) {
    const std::string value = field.get(recipe);
    if (value != field.get(nearest->recipe)) words += text(",", field.name, "=", value);
  }
  return words;
}

const std::vector<std::string_view>& recipe_fields() {
  static const auto* const kNames = [] {  // never destroyed, like recipes()
    std::vector<std::string_view> names;
    for (const grammar::Field& field : grammar::fields()) names.push_back(field.name);
    return new std::vector<std::string_view>(std::move(names));
  }();
  return *kNames;
}

Result<std::string> recipe_field(const Recipe& recipe, std::string_view field) noexcept {
  return guarded([&]() -> Result<std::string> {
    const grammar::Field* found = grammar::find_field(field);
    if (found == nullptr) return unknown_field(field);
    return found->get(recipe);
  });
}

Status set_recipe_field(Recipe& recipe, std::string_view field, std::string_view value) noexcept {
  return guarded([&]() -> Status {
    const grammar::Field* found = grammar::find_field(field);
    if (found == nullptr) return unknown_field(field);
    if (!found->set(recipe, value)) {
      return invalid_argument("recipe field ", field, " cannot be ", quoted(value), "; allowed: ", found->allowed());
    }
    return {};
  });
}

}  // namespace octavo
