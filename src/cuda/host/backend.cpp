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

  // The kernels of a cache are mma.sync's, which run on every later GPU.
  Status supports_cache(const octavo::Implementation& which, Device on) const override {
    if (&which != &k_sm80) {
      return unimplemented("implementation \"", which.name, "\" has no key-value cache; \"", k_sm80.name,
                           "\" and the CPU's implementations do");
    }
    const Result<DeviceProperties> device = runtime()->properties(on.index);
    if (!device.ok()) return device.status();
    std::string reason = cuda::missing(own(which), *device);
    return reason.empty() ? Status{} : unavailable(std::move(reason));
  }
  Result<std::size_t> workspace_size(const octavo::Implementation&, const CacheAttentionProblem& problem,
                                     const Execution&) const override {
    return cuda::workspace_size(problem);
  }
  Status append(const octavo::Implementation&, const CacheAppendProblem& problem,
                const Execution& execution) const override {
    return cuda::append(problem, execution);
  }
  Status attention(const octavo::Implementation&, const CacheAttentionProblem& problem, const Execution& execution,
                   CallReport& report) const override {
    return cuda::attention(problem, execution, report);
  }

 private:
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
