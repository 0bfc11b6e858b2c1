// The table of presets and the grammar "preset,field=value,...": from text, to text.
#include "octavo/recipe.hpp"

#include "recipes/recipe_fields.hpp"

namespace octavo {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

Status unknown_field(std::string_view name) {
  return {StatusCode::kInvalidArgument,
          "recipe field " + quoted(name) + " is unknown; fields are " + grammar::list_of(grammar::fields())};
}

// How many fields of two recipes differ.
int distance(const Recipe& a, const Recipe& b) {
  int differing = 0;
  for (const grammar::Field& field : grammar::fields()) differing += field.get(a) != field.get(b);
  return differing;
}

}  // namespace

const std::vector<RecipeInfo>& recipes() {
  static const std::vector<RecipeInfo> kRecipes = {
#define OCTAVO_RECIPE(name, summary, ...) {#name, Recipe{__VA_ARGS__}, summary},
#include "recipes/recipes.inc"
#undef OCTAVO_RECIPE
  };
  return kRecipes;
}

Result<Recipe> parse_recipe(std::string_view text) {
  const std::string_view whole = text;
  const auto next_part = [&text] {
    const std::size_t comma = text.find(',');
    const std::string_view part = trimmed(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    return part;
  };

  const std::string_view name = next_part();
  Recipe recipe;
  bool known = false;
  for (const RecipeInfo& info : recipes()) {
    if (info.name == name) {
      recipe = info.recipe;
      known = true;
    }
  }
  if (!known) {
    return Status(StatusCode::kInvalidArgument,
                  "recipe " + quoted(name) + " is unknown; recipes are " + grammar::list_of(recipes()));
  }

  bool ends_with_comma = !whole.empty() && trimmed(whole).back() == ',';
  while (!text.empty() || ends_with_comma) {
    if (text.empty()) ends_with_comma = false;
    const std::string_view part = next_part();
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      return Status(StatusCode::kInvalidArgument,
                    "recipe option " + quoted(part) + " in " + quoted(whole) + " is not of the form field=value");
    }
    Status status = set_recipe_field(recipe, trimmed(part.substr(0, equals)), trimmed(part.substr(equals + 1)));
    if (!status.ok()) return status;
  }
  Status status = check_recipe(recipe);
  if (!status.ok()) return status;
  return recipe;
}

std::string to_string(const Recipe& recipe) {
  const RecipeInfo* nearest = &recipes().front();
  for (const RecipeInfo& info : recipes()) {
    if (distance(recipe, info.recipe) < distance(recipe, nearest->recipe)) nearest = &info;
  }
  std::string text(nearest->name);
  for (const grammar::Field& field : grammar::fields()) {
    const std::string value = field.get(recipe);
    if (value != field.get(nearest->recipe)) text += "," + std::string(field.name) + "=" + value;
  }
  return text;
}

const std::vector<std::string_view>& recipe_fields() {
  static const std::vector<std::string_view> kNames = [] {
    std::vector<std::string_view> names;
    for (const grammar::Field& field : grammar::fields()) names.push_back(field.name);
    return names;
  }();
  return kNames;
}

Result<std::string> recipe_field(const Recipe& recipe, std::string_view field) {
  const grammar::Field* found = grammar::find_field(field);
  if (found == nullptr) return unknown_field(field);
  return found->get(recipe);
}

Status set_recipe_field(Recipe& recipe, std::string_view field, std::string_view value) {
  const grammar::Field* found = grammar::find_field(field);
  if (found == nullptr) return unknown_field(field);
  if (!found->set(recipe, value)) {
    return {StatusCode::kInvalidArgument,
            "recipe field " + std::string(field) + " cannot be " + quoted(value) + "; allowed: " + found->allowed()};
  }
  return {};
}

}  // namespace octavo
