// What tests of quantize() and of codes in attention() share.
#pragma once

#include "call.hpp"

namespace octavo {

inline Recipe recipe_of(std::string_view text) {
  const Result<Recipe> recipe = parse_recipe(text);
  EXPECT_TRUE(recipe.ok()) << recipe.status().message();
  return recipe.ok() ? *recipe : Recipe{};
}

inline Execution on_reference() {
  Execution execution;
  execution.implementation = "reference";
  return execution;
}

}  // namespace octavo
