// The table of CUDA implementations as objects, and what each of them can do.
#include "cuda/implementation.hpp"

#include "core/text.hpp"

namespace octavo::cuda {
namespace {

#define OCTAVO_CUDA_IMPLEMENTATION(name, capability, description) \
  constexpr Implementation k_##name{#name, description, capability};
#include "cuda/implementations.inc"
#undef OCTAVO_CUDA_IMPLEMENTATION

constexpr Implementation const* kAll[] = {
#define OCTAVO_CUDA_IMPLEMENTATION(name, capability, description) &k_##name,
#include "cuda/implementations.inc"
#undef OCTAVO_CUDA_IMPLEMENTATION
};

}  // namespace

std::span<const Implementation* const> implementations() noexcept {
  // A build without CUDA has no kernels to list, unless a test has brought a machine for them.
  if (runtime() == nullptr) return {};
  return kAll;
}

const char* name(const Implementation& implementation) noexcept { return implementation.name; }
const char* description(const Implementation& implementation) noexcept { return implementation.description; }

}  // namespace octavo::cuda
