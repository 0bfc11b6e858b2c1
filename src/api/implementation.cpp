// The list of implementations and the ways to name one: per call, for the process, by the environment.
#include "octavo/implementation.hpp"

#include <array>
#include <atomic>
#include <utility>

#include "api/selection.hpp"
#include "core/env.hpp"
#include "core/guard.hpp"
#include "core/text.hpp"
#include "cpu/cpu.hpp"
#include "cuda/host/cuda.hpp"
#include "reference/reference.hpp"

namespace octavo {
namespace {

// In the order of implementations().
const std::array<const Backend*, 3>& backends() noexcept {
  static const std::array<const Backend*, 3> kBackends{&cpu::backend(), &cuda::backend(), &reference::backend()};
  return kBackends;
}

// What was forced: an implementation, the automatic choice (null), or whatever the environment names (kByEnvironment).
constexpr Implementation kByEnvironment{"", "", nullptr};
std::atomic<const Implementation*> forced{&kByEnvironment};

thread_local std::string_view last_served;

// The implementation of that name, which this machine can run. `source` tells whose name it is.
Result<const Implementation*> find(std::string_view name, std::string_view source) {
  for (const Backend* backend : backends()) {
    for (const Implementation* each : backend->implementations()) {
      if (each->name != name) continue;
      const std::string missing = backend->claim(*each);
      if (missing.empty()) return each;
      return unavailable(source, " \"", name, "\" cannot run on this machine: ", missing);
    }
  }
  std::string known;
  for (const Backend* backend : backends()) {
    for (const Implementation* each : backend->implementations()) known += text(known.empty() ? "" : ", ", each->name);
  }
  return invalid_argument(source, " \"", name, "\" is unknown; this build has ", known);
}

// What a call must use; null: the automatic choice.
Result<const Implementation*> named_implementation(std::string_view asked) {
  if (!asked.empty()) return find(asked, "implementation");
  const Implementation* const chosen = forced.load(std::memory_order_acquire);
  if (chosen != &kByEnvironment) return chosen;
  const std::string& name = environment().force_implementation;
  if (name.empty()) return static_cast<const Implementation*>(nullptr);
  return find(name, "OCTAVO_FORCE_IMPLEMENTATION");
}

// The implementation computes on the device of the tensors.
Status check_device_of(const Implementation& implementation, Device device) {
  if (implementation.backend().device() == device.type) return {};
  return device.type == DeviceType::cuda
             ? invalid_argument("implementation \"", implementation.name,
                                "\" computes on the CPU; the tensors are on CUDA device ", device.index)
             : invalid_argument("implementation \"", implementation.name,
                                "\" computes on CUDA devices; the tensors are on the CPU");
}

template <class AnyProblem>
Result<const Implementation*> select(const AnyProblem& problem, std::string_view asked) {
  const Result<const Implementation*> named = named_implementation(asked);
  if (!named.ok()) return named;
  if (*named != nullptr) {
    Status status = check_device_of(**named, problem.device);
    if (status.ok()) status = (*named)->backend().supports(**named, problem);
    if (!status.ok()) return status;
    return named;
  }
  Status refused;
  for (const Backend* backend : backends()) {
    if (backend->device() != problem.device.type) continue;
    for (const Implementation* candidate : backend->candidates()) {
      Status status = backend->supports(*candidate, problem);
      if (status.ok()) return candidate;
      // The message of the best implementation; on a GPU that of the last one, which serves most.
      if (refused.ok() || backend->device() == DeviceType::cuda) refused = std::move(status);
    }
  }
  // The automatic choice never falls back to the reference, which is thousands of times slower; the message names it.
  const Backend& reference = reference::backend();
  const Implementation& oracle = *reference.implementations().front();
  if (problem.device.type != reference.device() || !reference.supports(oracle, problem).ok()) return refused;
  return Status(refused.code(), text(refused.message(), "; implementation \"", oracle.name, "\" runs it"));
}

}  // namespace

Result<const Implementation*> select_implementation(const Problem& problem, std::string_view asked) {
  return select(problem, asked);
}
Result<const Implementation*> select_implementation(const QuantizeProblem& problem, std::string_view asked) {
  return select(problem, asked);
}
Result<const Implementation*> select_implementation(const DequantizeProblem& problem, std::string_view asked) {
  return select(problem, asked);
}
Result<const Implementation*> select_implementation(const MergeProblem& problem, std::string_view asked) {
  return select(problem, asked);
}

Result<const Implementation*> select_cache_implementation(std::string_view asked, Device device) {
  const Result<const Implementation*> named = named_implementation(asked);
  if (!named.ok()) return named;
  if (*named != nullptr) {
    Status status = check_device_of(**named, device);
    if (status.ok()) status = (*named)->backend().supports_cache(**named, device);
    if (!status.ok()) return status;
    return named;
  }
  if (device.type == DeviceType::cpu) return cpu::backend().candidates().front();
  Status refused;
  for (const Implementation* candidate : cuda::backend().candidates()) {
    Status status = candidate->backend().supports_cache(*candidate, device);
    if (status.ok()) return candidate;
    refused = std::move(status);
  }
  return refused;
}

void note_served_by(const Implementation& implementation) noexcept { last_served = implementation.name; }

std::vector<ImplementationInfo> implementations() {
  std::vector<ImplementationInfo> list;
  for (const Backend* backend : backends()) {
    for (const Implementation* each : backend->implementations()) {
      std::string missing = backend->missing(*each);
      const bool supported = missing.empty();
      list.push_back({each->name, each->description, supported, std::move(missing), backend->device()});
    }
  }
  return list;
}

Status force_implementation(std::string_view name) noexcept {
  return guarded([&]() -> Status {
    const Implementation* chosen = nullptr;
    if (!name.empty()) {
      const Result<const Implementation*> found = find(name, "implementation");
      if (!found.ok()) return found.status();
      chosen = *found;
    }
    forced.store(chosen, std::memory_order_release);
    return {};
  });
}

Result<std::string_view> active_implementation() noexcept {
  return guarded([]() -> Result<std::string_view> {
    const Result<const Implementation*> named = named_implementation({});
    if (!named.ok()) return named.status();
    return std::string_view((*named != nullptr ? *named : cpu::backend().candidates().front())->name);
  });
}

std::string_view last_implementation() noexcept { return last_served; }

std::string processor_features() { return cpu::processor_features(); }
std::string slow_processor_features() { return cpu::slow_processor_features(); }
bool interleaves_softmax() noexcept { return cpu::interleaves_softmax(); }

}  // namespace octavo
