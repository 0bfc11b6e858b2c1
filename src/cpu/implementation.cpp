// The table of implementations as objects, and what each of them can do.
#include "cpu/implementation.hpp"

#include <array>
#include <utility>

#include "cpu/features.hpp"

namespace octavo::cpu {

#define OCTAVO_CPU_IMPLEMENTATION(name, table, features, description) extern const KernelTable table;
#include "cpu/implementations.inc"
#undef OCTAVO_CPU_IMPLEMENTATION

namespace {

#define OCTAVO_CPU_IMPLEMENTATION(name, table, features, description) \
  constexpr Implementation k_##name{{#name, description, &backend}, features, &table};
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

void sort_by_preference(std::span<const Implementation*> list, std::uint32_t slow) noexcept {
  // Insertion: stable, and no memory is taken.
  for (std::size_t i = 1; i < list.size(); ++i) {
    for (std::size_t j = i; j > 0; --j) {
      const std::uint32_t before = list[j - 1]->features, here = list[j]->features;
      // Only past those with the same integer products: they matter more than any other unit.
      if ((before & slow) == 0 || (here & slow) != 0 || ((before ^ here) & kAvx512Vnni) != 0) break;
      std::swap(list[j - 1], list[j]);
    }
  }
}

std::span<const Implementation* const> implementations() noexcept {
  static const auto kSorted = [] {
    auto sorted = std::to_array(kAll);
    sort_by_preference(sorted, slow_features());
    return sorted;
  }();
  return kSorted;
}
const char* name(const Implementation& implementation) noexcept { return implementation.name; }

std::string missing(const Implementation& implementation) {
  const std::uint32_t lacking = implementation.features & ~features();
  return lacking == 0 ? std::string() : "this processor lacks " + feature_names(lacking);
}

std::string os_permission_error(const Implementation& implementation) {
  if (claim_features(implementation.features)) return {};
  return "the operating system does not let this process use " + feature_names(implementation.features & kAmxInt8);
}

std::string processor_features() { return feature_names(features()); }
std::string slow_processor_features() { return feature_names(slow_features()); }

Status supports(const Implementation& implementation, const Problem& problem) {
  const Recipe& recipe = problem.recipe;
  const auto refuse = [&](const std::string& what) {
    return unimplemented(implementation, what + " (recipe " + to_string(recipe) + ")");
  };
  if (recipe.accumulator != Accumulator::f32 && recipe.accumulator != Accumulator::f16)
    return refuse(
        "models of tensor cores' accumulators, which run in the reference only; it supports accumulator=f32 and f16");
  if (recipe.accumulator == Accumulator::f16 && !recipe.two_level)
    return refuse("accumulator=f16 with two_level=off; it supports two_level=on");
  if (recipe.key_block != 64 && recipe.key_block != 128 && recipe.key_block != 256 && recipe.key_block != 512)
    return refuse("key_block=" + std::to_string(recipe.key_block) + "; it supports 64, 128, 256 and 512");
  if (recipe.qk_gains && recipe.k_scale == Granularity::tensor)
    return refuse("qk_gains=on with k_scale=tensor; use another k_scale, or the reference");
  return {};
}

}  // namespace octavo::cpu
