// The recipe grammar and the list of presets with C's strings.
#include "octavo/recipe.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "capi/convert.hpp"
#include "capi/error.hpp"

namespace octavo::capi {
namespace {

static_assert(static_cast<int>(Format::e5m2) == OCTAVO_FORMAT_E5M2 && static_cast<int>(Format::s8) == OCTAVO_FORMAT_S8);
static_assert(static_cast<int>(Granularity::block_channel) == OCTAVO_GRANULARITY_BLOCK_CHANNEL);
static_assert(static_cast<int>(WeightFormat::e5m2) == OCTAVO_WEIGHT_E5M2);
static_assert(static_cast<int>(MaximumReference::block) == OCTAVO_MAXIMUM_BLOCK);
static_assert(static_cast<int>(RowSum::codes) == OCTAVO_ROW_SUM_CODES);
static_assert(static_cast<int>(Accumulator::sm80) == OCTAVO_ACCUMULATOR_SM80);

// As much of `text` as fits, always with its final zero.
Status write_text(const std::string& text, char* buffer, std::size_t capacity, std::size_t* length) {
  if (buffer == nullptr && capacity != 0) {
    return invalid_argument("buffer is null and capacity is ", capacity, "; without a buffer it must be 0");
  }
  if (length != nullptr) *length = text.size();
  if (capacity == 0) return {};
  const std::size_t bytes = std::min(text.size(), capacity - 1);
  std::memcpy(buffer, text.data(), bytes);
  buffer[bytes] = '\0';
  return {};
}

Status read_given_recipe(const octavo_recipe_t* from, Recipe& to) {
  if (Status status = check_given(from, "recipe"); !status.ok()) return status;
  return read_recipe(from, to);
}

struct Preset {
  std::string name, summary;
};

// Never destroyed: their strings stay valid for the life of the process.
const std::vector<Preset>& presets() {
  static const auto* const kPresets = [] {
    std::vector<Preset> list;
    for (const RecipeInfo& info : recipes()) list.push_back({std::string(info.name), std::string(info.summary)});
    return new std::vector<Preset>(std::move(list));
  }();
  return *kPresets;
}

const std::vector<std::string>& field_names() {
  static const auto* const kNames = new std::vector<std::string>(recipe_fields().begin(), recipe_fields().end());
  return *kNames;
}

// How long list() is; 0 without memory for it.
template <class List>
std::size_t size_or_zero(List&& list) noexcept {
  try {
    return list().size();
  } catch (...) {
    return 0;
  }
}

// list()[index].*member, null beyond the end or without memory.
template <class Get>
const char* name_or_null(Get&& get) noexcept {
  try {
    return get();
  } catch (...) {
    return nullptr;
  }
}

}  // namespace
}  // namespace octavo::capi

namespace capi = octavo::capi;
using octavo::Recipe;
using octavo::Result;
using octavo::Status;

octavo_status_t octavo_recipe_parse(const char* text, octavo_recipe_t* recipe) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(text, "text"); !status.ok()) return status;
    if (Status status = capi::check_given(recipe, "recipe"); !status.ok()) return status;
    const Result<Recipe> parsed = octavo::parse_recipe(text);
    return parsed.ok() ? capi::write_recipe(*parsed, recipe) : parsed.status();
  });
}

octavo_status_t octavo_recipe_text(const octavo_recipe_t* recipe, char* buffer, size_t capacity, size_t* length) {
  return capi::guarded([&]() -> Status {
    Recipe of;
    if (Status status = capi::read_given_recipe(recipe, of); !status.ok()) return status;
    return capi::write_text(octavo::to_string(of), buffer, capacity, length);
  });
}

octavo_status_t octavo_recipe_get(const octavo_recipe_t* recipe, const char* field, char* buffer, size_t capacity,
                                  size_t* length) {
  return capi::guarded([&]() -> Status {
    Recipe of;
    if (Status status = capi::read_given_recipe(recipe, of); !status.ok()) return status;
    if (Status status = capi::check_given(field, "field"); !status.ok()) return status;
    const Result<std::string> value = octavo::recipe_field(of, field);
    return value.ok() ? capi::write_text(*value, buffer, capacity, length) : value.status();
  });
}

octavo_status_t octavo_recipe_set(octavo_recipe_t* recipe, const char* field, const char* value) {
  return capi::guarded([&]() -> Status {
    Recipe changed;
    if (Status status = capi::read_given_recipe(recipe, changed); !status.ok()) return status;
    if (Status status = capi::check_given(field, "field"); !status.ok()) return status;
    if (Status status = capi::check_given(value, "value"); !status.ok()) return status;
    if (Status status = octavo::set_recipe_field(changed, field, value); !status.ok()) return status;
    return capi::write_recipe(changed, recipe);
  });
}

octavo_status_t octavo_recipe_check(const octavo_recipe_t* recipe) {
  return capi::guarded([&]() -> Status {
    Recipe of;
    if (Status status = capi::read_given_recipe(recipe, of); !status.ok()) return status;
    return octavo::check_recipe(of);
  });
}

size_t octavo_recipe_count() { return capi::size_or_zero(octavo::recipes); }

const char* octavo_recipe_name(size_t index) {
  return capi::name_or_null(
      [&] { return index < capi::presets().size() ? capi::presets()[index].name.c_str() : nullptr; });
}

const char* octavo_recipe_summary(size_t index) {
  return capi::name_or_null(
      [&] { return index < capi::presets().size() ? capi::presets()[index].summary.c_str() : nullptr; });
}

size_t octavo_recipe_field_count() { return capi::size_or_zero(octavo::recipe_fields); }

const char* octavo_recipe_field_name(size_t index) {
  return capi::name_or_null(
      [&] { return index < capi::field_names().size() ? capi::field_names()[index].c_str() : nullptr; });
}
