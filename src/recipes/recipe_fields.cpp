// The table of a recipe's fields and the words for their values.
#include "recipes/recipe_fields.hpp"

#include <array>
#include <charconv>
#include <cstdint>

namespace octavo::grammar {
namespace {

template <class Enum>
struct Word {
  std::string_view name;
  Enum value;
};

constexpr Word<Format> kFormats[] = {{"input", Format::input}, {"f16", Format::f16},   {"s8", Format::s8},
                                     {"s4", Format::s4},       {"e4m3", Format::e4m3}, {"e5m2", Format::e5m2}};
constexpr Word<Granularity> kGranularities[] = {{"none", Granularity::none},
                                                {"tensor", Granularity::tensor},
                                                {"block", Granularity::block},
                                                {"warp", Granularity::warp},
                                                {"thread", Granularity::thread},
                                                {"token", Granularity::token},
                                                {"token_folded", Granularity::token_folded},
                                                {"channel", Granularity::channel},
                                                {"block_channel", Granularity::block_channel}};
constexpr Word<WeightFormat> kWeightFormats[] = {
    {"input", WeightFormat::input}, {"f16", WeightFormat::f16},   {"s8", WeightFormat::s8},    {"u8", WeightFormat::u8},
    {"u16", WeightFormat::u16},     {"e4m3", WeightFormat::e4m3}, {"e5m2", WeightFormat::e5m2}};
constexpr Word<MaximumReference> kReferences[] = {{"running", MaximumReference::running},
                                                  {"block", MaximumReference::block}};
constexpr Word<RowSum> kRowSums[] = {{"weights", RowSum::weights}, {"codes", RowSum::codes}};
constexpr Word<Accumulator> kAccumulators[] = {{"f32", Accumulator::f32},   {"f16", Accumulator::f16},
                                               {"sm80", Accumulator::sm80}, {"sm89", Accumulator::sm89},
                                               {"sm90", Accumulator::sm90}, {"sm100", Accumulator::sm100}};

constexpr std::span<const Word<Format>> words(Format) { return kFormats; }
constexpr std::span<const Word<Granularity>> words(Granularity) { return kGranularities; }
constexpr std::span<const Word<WeightFormat>> words(WeightFormat) { return kWeightFormats; }
constexpr std::span<const Word<MaximumReference>> words(MaximumReference) { return kReferences; }
constexpr std::span<const Word<RowSum>> words(RowSum) { return kRowSums; }
constexpr std::span<const Word<Accumulator>> words(Accumulator) { return kAccumulators; }

// Enumerations.
template <class T>
struct Text {
  static std::string write(T value) {
    for (const auto& word : words(T{})) {
      if (word.value == value) return std::string(word.name);
    }
    return std::to_string(static_cast<int>(value));  // a value that is no enumerator; check_recipe refuses it
  }
  static bool read(std::string_view text, T& value) {
    for (const auto& word : words(T{})) {
      if (word.name == text) {
        value = word.value;
        return true;
      }
    }
    return false;
  }
  static std::string allowed() { return list_of(words(T{})); }
};

template <>
struct Text<bool> {
  static std::string write(bool value) { return value ? "on" : "off"; }
  static bool read(std::string_view text, bool& value) {
    for (std::string_view yes : {"on", "true", "1"}) {
      if (text == yes) return value = true;
    }
    for (std::string_view no : {"off", "false", "0"}) {
      if (text == no) return !(value = false);
    }
    return false;
  }
  static std::string allowed() { return "on, off"; }
};

template <class Number>
bool read_number(std::string_view text, Number& value) {
  Number read{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
  if (error != std::errc{} || end != text.data() + text.size()) return false;
  value = read;
  return true;
}

template <>
struct Text<std::int32_t> {
  static std::string write(std::int32_t value) { return std::to_string(value); }
  static bool read(std::string_view text, std::int32_t& value) { return read_number(text, value); }
};

template <>
struct Text<double> {
  static std::string write(double value) {
    std::array<char, 32> buffer;
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return error == std::errc{} ? std::string(buffer.data(), end) : std::string("0");
  }
  static bool read(std::string_view text, double& value) { return read_number(text, value); }
};

template <auto member>
constexpr Field field(std::string_view name, const char* numbers) {
  using Value = std::remove_cvref_t<decltype(Recipe{}.*member)>;
  Field result{name, [](const Recipe& recipe) { return Text<Value>::write(recipe.*member); },
               [](Recipe& recipe, std::string_view text) { return Text<Value>::read(text, recipe.*member); }, nullptr,
               numbers};
  if constexpr (requires { Text<Value>::allowed(); }) result.words = [] { return Text<Value>::allowed(); };
  return result;
}

constexpr Field kFields[] = {
#define OCTAVO_RECIPE_FIELD(name, numbers) field<&Recipe::name>(#name, numbers),
#include "recipes/recipe_fields.inc"
#undef OCTAVO_RECIPE_FIELD
};

}  // namespace

std::span<const Field> fields() noexcept { return kFields; }

const Field* find_field(std::string_view name) noexcept {
  for (const Field& field : kFields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

}  // namespace octavo::grammar
