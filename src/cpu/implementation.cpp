// The table of implementations as objects, and what each of them can do.
#include "cpu/implementation.hpp"

#include <array>

#include "cpu/features.hpp"

namespace octavo::cpu {

#define OCTAVO_CPU_IMPLEMENTATION(name, table, features, description) extern const KernelTable table;
#include "cpu/implementations.inc"
#undef OCTAVO_CPU_IMPLEMENTATION

namespace {

#define OCTAVO_CPU_IMPLEMENTATION(name, table, features, description) \
  constexpr Implementation k_##name{#name, description, features, &table};
#include "cpu/implementations.inc"
#undef OCTAVO_CPU_IMPLEMENTATION

constexpr Implementation const* kAll[] = {
#define OCTAVO_CPU_IMPLEMENTATION(name, table, features, description) &k_##name,
#include "cpu/implementations.inc"
#undef OCTAVO_CPU_IMPLEMENTATION
};

Status unimplemented(const Implementation& implementation, std::string what) {
  return Status(StatusCode::kUnimplemented,
                "implementation \"" + std::string(implementation.name) + "\" does not support " + std::move(what));
}

}  // namespace

std::span<const Implementation* const> implementations() noexcept { return kAll; }
const char* name(const Implementation& implementation) noexcept { return implementation.name; }
const char* description(const Implementation& implementation) noexcept { return implementation.description; }

std::string missing(const Implementation& implementation) {
  const std::uint32_t lacking = implementation.features & ~features();
  return lacking == 0 ? std::string() : "this processor lacks " + feature_names(lacking);
}

std::string processor_features() { return feature_names(features()); }

Status supports(const Implementation& implementation, const Problem& problem) {
  const Recipe& recipe = problem.recipe;
  const auto refuse = [&](const std::string& what) {
    return unimplemented(implementation, what + " (recipe " + to_string(recipe) + ")");
  };
  if (recipe.scores != Format::input && recipe.scores != Format::s8 && recipe.scores != Format::s4)
    return refuse("scores=e4m3, e5m2 or f16; it computes scores from the inputs, s8 and s4");
  if (recipe.values != Format::input && recipe.values != Format::f16 && recipe.values != Format::s8 &&
      recipe.values != Format::s4)
    return refuse("values=e4m3 or e5m2; it takes values as given, f16, s8 and s4");
  const bool integer = recipe.values == Format::s8 || recipe.values == Format::s4;
  if (integer) {
    if (recipe.p != WeightFormat::u8 && recipe.p != WeightFormat::s8)
      return refuse("integer values with p other than u8 or s8");
    if (recipe.v_scale != Granularity::token_folded && recipe.v_scale != Granularity::tensor)
      return refuse("this v_scale; it supports token_folded and tensor");
  } else if (recipe.p != (recipe.values == Format::f16 ? WeightFormat::f16 : WeightFormat::input)) {
    return refuse("this p with float values; it supports p=input with values=input and p=f16 with values=f16");
  }
  if (recipe.scores != Format::input &&
      (recipe.q_scale != Granularity::token || recipe.k_scale != Granularity::token) &&
      !(problem.q.quantized && problem.k.quantized))
    return refuse("q_scale and k_scale other than token");
  if (recipe.smooth_v) return refuse("smooth_v");
  if (recipe.channel_gains) return refuse("channel_gains");
  if (recipe.accumulator != Accumulator::f32) return refuse("an accumulator other than f32");
  if (recipe.key_block != 64 && recipe.key_block != 128 && recipe.key_block != 256 && recipe.key_block != 512)
    return refuse("key_block=" + std::to_string(recipe.key_block) + "; it supports 64, 128, 256 and 512");
  return {};
}

}  // namespace octavo::cpu
