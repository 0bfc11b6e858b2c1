// The CPU back end: plan, scratch memory and run of each call.
#include "core/backend.hpp"

#include <vector>

#include "core/scratch_memory.hpp"
#include "core/text.hpp"
#include "core/thread_pool.hpp"
#include "cpu/implementation.hpp"

namespace octavo::cpu {
namespace {

const Implementation& own(const octavo::Implementation& implementation) {
  return static_cast<const Implementation&>(implementation);
}

// Never destroyed: pointers into them stay in use.
const std::vector<const octavo::Implementation*>& all() {
  static const auto* const kAll =
      new std::vector<const octavo::Implementation*>(cpu::implementations().begin(), cpu::implementations().end());
  return *kAll;
}
const std::vector<const octavo::Implementation*>& all_that_run_here() {
  static const auto* const kFound = [] {
    auto* const found = new std::vector<const octavo::Implementation*>;
    for (const Implementation* each : cpu::implementations()) {
      if (cpu::missing(*each).empty()) found->push_back(each);
    }
    return found;
  }();
  return *kFound;
}

bool is_empty(const Problem& problem) { return problem.batch == 0 || problem.q_rows == 0; }

class CpuBackend final : public Backend {
 public:
  DeviceType device() const noexcept override { return DeviceType::cpu; }
  ImplementationList implementations() const override { return all(); }
  ImplementationList candidates() const override { return all_that_run_here(); }
  std::string missing(const octavo::Implementation& which) const override { return cpu::missing(own(which)); }
  std::string claim(const octavo::Implementation& which) const override {
    std::string reason = missing(which);
    return reason.empty() ? cpu::os_permission_error(own(which)) : reason;
  }

  Status supports(const octavo::Implementation& which, const Problem& problem) const override {
    return cpu::supports(own(which), problem);
  }
  Status supports(const octavo::Implementation&, const QuantizeProblem&) const override { return {}; }
  Status supports(const octavo::Implementation&, const DequantizeProblem&) const override { return {}; }
  Status supports(const octavo::Implementation&, const MergeProblem&) const override { return {}; }

  Result<std::size_t> workspace_size(const octavo::Implementation& which, const Problem& problem,
                                     const Execution& execution) const override {
    if (is_empty(problem)) return std::size_t{0};
    return PlannedAttention(own(which), problem, FixedRunner(runner_of(execution)).threads()).workspace_bytes();
  }

  Status attention(const octavo::Implementation& which, const Problem& problem, const Execution& execution,
                   CallReport& report) const override {
    FixedRunner runner(runner_of(execution));
    report.threads = runner.threads();
    if (is_empty(problem)) return {};
    const PlannedAttention call(own(which), problem, report.threads);
    report.workspace_bytes = call.workspace_bytes();
    const ScratchMemory scratch(execution, report.workspace_bytes);
    if (scratch.status().ok()) call.run(runner, scratch.data());
    return scratch.status();
  }

  Status quantize(const octavo::Implementation& which, const QuantizeProblem& problem,
                  const Execution& execution) const override {
    FixedRunner runner(runner_of(execution));
    const ScratchMemory scratch(execution, cpu::workspace_size(own(which), problem, runner.threads()));
    if (scratch.status().ok()) cpu::quantize(own(which), problem, runner, scratch.data());
    return scratch.status();
  }

  Status dequantize(const octavo::Implementation& which, const DequantizeProblem& problem,
                    const Execution& execution) const override {
    cpu::dequantize(own(which), problem, runner_of(execution));
    return {};
  }
  Status merge(const octavo::Implementation& which, const MergeProblem& problem,
               const Execution& execution) const override {
    cpu::merge(own(which), problem, runner_of(execution));
    return {};
  }

  Status supports_cache(const octavo::Implementation&, Device) const override { return {}; }
  Result<std::size_t> workspace_size(const octavo::Implementation& which, const CacheAttentionProblem& problem,
                                     const Execution& execution) const override {
    return cpu::workspace_size(own(which), problem, FixedRunner(runner_of(execution)).threads());
  }
  Status append(const octavo::Implementation& which, const CacheAppendProblem& problem,
                const Execution& execution) const override {
    FixedRunner runner(runner_of(execution));
    cpu::append(own(which), problem, runner);
    return {};
  }
  Status attention(const octavo::Implementation& which, const CacheAttentionProblem& problem,
                   const Execution& execution, CallReport& report) const override {
    FixedRunner runner(runner_of(execution));
    report.threads = runner.threads();
    report.workspace_bytes = cpu::workspace_size(own(which), problem, report.threads);
    const ScratchMemory scratch(execution, report.workspace_bytes);
    if (scratch.status().ok()) cpu::attention(own(which), problem, runner, scratch.data());
    return scratch.status();
  }
};

}  // namespace

const Backend& backend() noexcept {
  static constexpr CpuBackend kBackend;
  return kBackend;
}

}  // namespace octavo::cpu
