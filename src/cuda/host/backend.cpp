// The CUDA back end: its implementations, and the calls that the api makes through core/backend.hpp.
#include "core/backend.hpp"

#include "core/text.hpp"
#include "cuda/host/implementation.hpp"

namespace octavo::cuda {
namespace {

#define OCTAVO_CUDA_IMPLEMENTATION(name, capability, wgmma, description) \
  constexpr Implementation k_##name{{#name, description, &backend}, capability, wgmma};
#include "cuda/host/implementations.inc"
#undef OCTAVO_CUDA_IMPLEMENTATION

constexpr const octavo::Implementation* kAll[] = {
#define OCTAVO_CUDA_IMPLEMENTATION(name, capability, wgmma, description) &k_##name,
#include "cuda/host/implementations.inc"
#undef OCTAVO_CUDA_IMPLEMENTATION
};

const Implementation& own(const octavo::Implementation& implementation) {
  return static_cast<const Implementation&>(implementation);
}

class CudaBackend final : public Backend {
 public:
  DeviceType device() const noexcept override { return DeviceType::cuda; }
  // A build without CUDA has no kernels to list, unless a test has installed a runtime for them.
  ImplementationList implementations() const override {
    return runtime() != nullptr ? ImplementationList(kAll) : ImplementationList();
  }
  ImplementationList candidates() const override { return implementations(); }
  std::string missing(const octavo::Implementation& which) const override { return cuda::missing(own(which)); }

  Status supports(const octavo::Implementation& which, const Problem& problem) const override {
    return supports_any(which, problem);
  }
  Status supports(const octavo::Implementation& which, const QuantizeProblem& problem) const override {
    return supports_any(which, problem);
  }
  Status supports(const octavo::Implementation& which, const DequantizeProblem& problem) const override {
    return supports_any(which, problem);
  }
  Status supports(const octavo::Implementation& which, const MergeProblem& problem) const override {
    return supports_any(which, problem);
  }

  Result<std::size_t> workspace_size(const octavo::Implementation& which, const Problem& problem,
                                     const Execution&) const override {
    const Result<DeviceProperties> device = runtime()->properties(problem.device.index);
    if (!device.ok()) return device.status();
    return cuda::workspace_size(own(which), problem, *device);
  }
  Status attention(const octavo::Implementation& which, const Problem& problem, const Execution& execution,
                   CallReport& report) const override {
    const Result<DeviceProperties> device = runtime()->properties(problem.device.index);
    return device.ok() ? cuda::attention(own(which), problem, *device, execution, report) : device.status();
  }
  Status quantize(const octavo::Implementation&, const QuantizeProblem& problem,
                  const Execution& execution) const override {
    return cuda::quantize(problem, execution);
  }
  Status dequantize(const octavo::Implementation&, const DequantizeProblem& problem,
                    const Execution& execution) const override {
    return cuda::dequantize(problem, execution);
  }
  Status merge(const octavo::Implementation&, const MergeProblem& problem, const Execution& execution) const override {
    return cuda::merge(problem, execution);
  }

  Status supports_cache(const octavo::Implementation& which) const override { return no_cache(which); }
  Result<std::size_t> workspace_size(const octavo::Implementation& which, const CacheAttentionProblem&,
                                     const Execution&) const override {
    return no_cache(which);
  }
  Status append(const octavo::Implementation& which, const CacheAppendProblem&, const Execution&) const override {
    return no_cache(which);
  }
  Status attention(const octavo::Implementation& which, const CacheAttentionProblem&, const Execution&,
                   CallReport&) const override {
    return no_cache(which);
  }

 private:
  static Status no_cache(const octavo::Implementation& which) {
    return unimplemented("implementation \"", which.name, "\" has no key-value cache; the CPU's implementations do");
  }
  // The tensors' GPU can run the implementation, and the implementation supports the problem.
  template <class AnyProblem>
  static Status supports_any(const octavo::Implementation& which, const AnyProblem& problem) {
    const Result<DeviceProperties> device = runtime()->properties(problem.device.index);
    if (!device.ok()) return device.status();
    std::string reason = cuda::missing(own(which), *device);
    return reason.empty() ? cuda::supports(own(which), problem) : unavailable(std::move(reason));
  }
};

}  // namespace

const Backend& backend() noexcept {
  static constexpr CudaBackend kBackend;
  return kBackend;
}

}  // namespace octavo::cuda
