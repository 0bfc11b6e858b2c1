// The oracle as a back end of one implementation, which is never selected automatically.
#include "core/backend.hpp"

#include "reference/reference.hpp"

namespace octavo::reference {
namespace {

constexpr Implementation kReference{"reference", "the oracle: every recipe in double, one thread, for checking",
                                    &backend};
constexpr const Implementation* kAll[] = {&kReference};

class ReferenceBackend final : public Backend {
 public:
  DeviceType device() const noexcept override { return DeviceType::cpu; }
  ImplementationList implementations() const override { return kAll; }
  ImplementationList candidates() const override { return {}; }
  std::string missing(const Implementation&) const override { return {}; }

  Status supports(const Implementation&, const Problem& problem) const override { return reference::supports(problem); }
  Status supports(const Implementation&, const QuantizeProblem&) const override { return {}; }
  Status supports(const Implementation&, const DequantizeProblem&) const override { return {}; }
  Status supports(const Implementation&, const MergeProblem&) const override { return {}; }

  Result<std::size_t> workspace_size(const Implementation&, const Problem&, const Execution&) const override {
    return std::size_t{0};
  }
  Status attention(const Implementation&, const Problem& problem, const Execution&, CallReport& report) const override {
    report.threads = 1;
    if (problem.batch > 0 && problem.q_rows > 0) reference::attention(problem);
    return {};
  }
  Status quantize(const Implementation&, const QuantizeProblem& problem, const Execution&) const override {
    reference::quantize(problem);
    return {};
  }
  Status dequantize(const Implementation&, const DequantizeProblem& problem, const Execution&) const override {
    reference::dequantize(problem);
    return {};
  }
  Status merge(const Implementation&, const MergeProblem& problem, const Execution&) const override {
    reference::merge(problem);
    return {};
  }

  Status supports_cache(const Implementation&, Device) const override { return {}; }
  Result<std::size_t> workspace_size(const Implementation&, const CacheAttentionProblem&,
                                     const Execution&) const override {
    return std::size_t{0};
  }
  Status append(const Implementation&, const CacheAppendProblem& problem, const Execution&) const override {
    reference::append(problem);
    return {};
  }
  Status attention(const Implementation&, const CacheAttentionProblem& problem, const Execution&,
                   CallReport& report) const override {
    report.threads = 1;
    reference::attention(problem);
    return {};
  }
};

}  // namespace

const Backend& backend() noexcept {
  static constexpr ReferenceBackend kBackend;
  return kBackend;
}

}  // namespace octavo::reference
