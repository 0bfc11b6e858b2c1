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

namespace {
Status none_yet(const Implementation& implementation, const char* what) {
  return unimplemented("implementation \"", implementation.name, "\" has no ", what, " yet");
}
}  // namespace

Status supports(const Implementation& implementation, const Problem&) { return none_yet(implementation, "attention"); }
Status supports(const Implementation& implementation, const QuantizeProblem&) {
  return none_yet(implementation, "quantizers");
}
Status supports(const Implementation& implementation, const DequantizeProblem&) {
  return none_yet(implementation, "dequantizer");
}
Status supports(const Implementation& implementation, const MergeProblem&) {
  return none_yet(implementation, "merging");
}

Result<std::size_t> workspace_size(const Implementation&, const Problem&, const DeviceProperties&) {
  return std::size_t{0};
}
Status attention(const Implementation& implementation, const Problem& problem, const DeviceProperties&,
                 const DeviceCall&) {
  return supports(implementation, problem);
}
std::size_t workspace_size(const Implementation&, const QuantizeProblem&) noexcept { return 0; }
Status quantize(const Implementation& implementation, const QuantizeProblem& problem, const DeviceCall&) {
  return supports(implementation, problem);
}
Status dequantize(const Implementation& implementation, const DequantizeProblem& problem, const DeviceCall&) {
  return supports(implementation, problem);
}
Status merge(const Implementation& implementation, const MergeProblem& problem, const DeviceCall&) {
  return supports(implementation, problem);
}

}  // namespace octavo::cuda
