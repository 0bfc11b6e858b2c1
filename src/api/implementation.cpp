// The list of implementations and the ways to name one: per call, for the process, by the environment.
#include "octavo/implementation.hpp"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "api/selection.hpp"
#include "core/env.hpp"
#include "core/guard.hpp"
#include "core/text.hpp"
#include "reference/reference.hpp"

namespace octavo {
namespace {

constexpr std::string_view kReferenceName = "reference";
constexpr std::string_view kReferenceDescription = "the oracle: every recipe in double, one thread, for checking";

struct Entry {
  Selection selection;
  std::string missing;  // empty: this machine can run it
};

// Of the CPU, in the order of choice, the reference last. Asked of the machine once.
const std::vector<Entry>& entries() {
  static const std::vector<Entry>* const kEntries = [] {
    std::vector<Entry> list;
    for (const cpu::Implementation* implementation : cpu::implementations()) {
      list.push_back({{implementation, nullptr, cpu::name(*implementation)}, cpu::missing(*implementation)});
    }
    list.push_back({{nullptr, nullptr, kReferenceName}, {}});
    return new std::vector<Entry>(std::move(list));  // never destroyed: names are handed out for good
  }();
  return *kEntries;
}

// CUDA's are kept apart: asking which of them can run wakes the driver, which calls on the CPU shall not.
Selection selection_of(const cuda::Implementation* implementation) {
  return {nullptr, implementation, cuda::name(*implementation)};
}

// What was forced: an index into entries(), behind them one into cuda::implementations(), or one of these.
constexpr int kByEnvironment = -2;
constexpr int kAutomatic = -1;
std::atomic<int> forced{kByEnvironment};

thread_local std::string_view last_served;

// Index of a name that this machine can run. `source` tells whose name it is.
Result<int> find(std::string_view name, std::string_view source) {
  const std::vector<Entry>& list = entries();
  const auto found = [&](std::size_t index, const std::string& missing) -> Result<int> {
    if (missing.empty()) return static_cast<int>(index);
    return unavailable(source, " \"", name, "\" cannot run on this machine: ", missing);
  };
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].selection.name != name) continue;
    const bool runs = list[i].missing.empty() && list[i].selection.cpu != nullptr;
    return found(i, runs ? cpu::withheld(*list[i].selection.cpu) : list[i].missing);
  }
  const auto on_cuda = cuda::implementations();
  for (std::size_t i = 0; i < on_cuda.size(); ++i) {
    if (cuda::name(*on_cuda[i]) == name) return found(list.size() + i, cuda::missing(*on_cuda[i]));
  }
  std::string known;
  const auto add = [&](std::string_view another) { known += text(known.empty() ? "" : ", ", another); };
  for (const Entry& entry : list) {
    if (entry.selection.name != kReferenceName) add(entry.selection.name);
  }
  for (const cuda::Implementation* implementation : on_cuda) add(cuda::name(*implementation));
  add(kReferenceName);
  return invalid_argument(source, " \"", name, "\" is unknown; this build has ", known);
}

// The index forced from outside the call, or kAutomatic.
Result<int> forced_index() {
  const int index = forced.load(std::memory_order_acquire);
  if (index != kByEnvironment) return index;
  const std::string& name = environment().force_implementation;
  return name.empty() ? Result<int>(kAutomatic) : find(name, "OCTAVO_FORCE_IMPLEMENTATION");
}

// What a call must use, or nothing for the automatic choice.
Result<std::optional<Selection>> named_selection(std::string_view asked) {
  const Result<int> index = asked.empty() ? forced_index() : find(asked, "implementation");
  if (!index.ok()) return index.status();
  if (*index < 0) return std::optional<Selection>();
  const auto at = static_cast<std::size_t>(*index), on_cpu = entries().size();
  if (at < on_cpu) return std::optional(entries()[at].selection);
  return std::optional(selection_of(cuda::implementations()[at - on_cpu]));
}

// The tensors lie where the implementation computes.
Status check_side(const Selection& selection, Device device) {
  const bool on_cuda = device.type == DeviceType::cuda;
  if (on_cuda == (selection.cuda != nullptr)) return {};
  return on_cuda ? invalid_argument("implementation \"", selection.name,
                                    "\" computes on the CPU; the tensors lie on CUDA device ", device.index)
                 : invalid_argument("implementation \"", selection.name,
                                    "\" computes on CUDA devices; the tensors lie on the CPU");
}

// The first CUDA implementation that the card can run and that takes the problem.
template <class AnyProblem>
Result<Selection> select_on_cuda(const AnyProblem& problem, const std::optional<Selection>& named) {
  const Result<cuda::DeviceProperties> device = cuda::runtime()->properties(problem.device.index);
  if (!device.ok()) return device.status();
  Status refused;
  for (const cuda::Implementation* implementation : cuda::implementations()) {
    if (named && named->cuda != implementation) continue;
    const std::string missing = cuda::missing(*implementation, *device);
    Status status = missing.empty() ? cuda::supports(*implementation, problem) : unavailable(missing);
    if (status.ok()) return selection_of(implementation);
    if (refused.ok()) refused = std::move(status);
  }
  return refused;
}

// The best that this machine can run: "scalar" at the least, which needs nothing of the processor.
const Selection& best_here() {
  const std::vector<Entry>& list = entries();
  return std::find_if(list.begin(), list.end(), [](const Entry& entry) { return entry.missing.empty(); })->selection;
}

}  // namespace

Result<Selection> select_implementation(const Problem& problem, std::string_view asked) {
  const Result<std::optional<Selection>> named = named_selection(asked);
  if (!named.ok()) return named.status();
  if (named->has_value()) {
    const Selection& selection = **named;
    if (Status status = check_side(selection, problem.device); !status.ok()) return status;
    if (selection.cuda != nullptr) return select_on_cuda(problem, *named);
    Status status = selection.cpu != nullptr ? cpu::supports(*selection.cpu, problem) : reference::supports(problem);
    if (!status.ok()) return status;
    return selection;
  }
  if (problem.device.type == DeviceType::cuda) return select_on_cuda(problem, {});
  Status refused;
  for (const Entry& entry : entries()) {
    if (entry.selection.cpu == nullptr || !entry.missing.empty()) continue;
    Status status = cpu::supports(*entry.selection.cpu, problem);
    if (status.ok()) return entry.selection;
    if (refused.ok()) refused = std::move(status);  // the best implementation's words
  }
  if (!reference::supports(problem).ok()) return refused;
  return Status(refused.code(), text(refused.message(), "; implementation \"", kReferenceName, "\" runs it"));
}

Result<Selection> select_implementation(const QuantizeProblem& problem, std::string_view asked) {
  const Result<std::optional<Selection>> named = named_selection(asked);
  if (!named.ok()) return named.status();
  if (named->has_value()) {
    if (Status status = check_side(**named, problem.device); !status.ok()) return status;
    if ((*named)->cuda == nullptr) return **named;
  }
  if (problem.device.type == DeviceType::cuda) return select_on_cuda(problem, *named);
  return best_here();
}

template <class AnyProblem>
static Result<Selection> select_for_device(const AnyProblem& problem, std::string_view asked) {
  const Result<std::optional<Selection>> named = named_selection(asked);
  if (!named.ok()) return named.status();
  if (named->has_value()) {
    if (Status status = check_side(**named, problem.device); !status.ok()) return status;
  }
  return select_on_cuda(problem, *named);
}

Result<Selection> select_on_device(const DequantizeProblem& problem, std::string_view asked) {
  return select_for_device(problem, asked);
}
Result<Selection> select_on_device(const MergeProblem& problem, std::string_view asked) {
  return select_for_device(problem, asked);
}

const cpu::Implementation& cpu_implementation() { return *best_here().cpu; }

void note_served_by(const Selection& selection) noexcept { last_served = selection.name; }

std::vector<ImplementationInfo> implementations() {
  std::vector<ImplementationInfo> list;
  for (const Entry& entry : entries()) {
    const cpu::Implementation* cpu = entry.selection.cpu;
    if (cpu == nullptr) break;
    list.push_back(
        {entry.selection.name, cpu::description(*cpu), entry.missing.empty(), entry.missing, DeviceType::cpu});
  }
  for (const cuda::Implementation* implementation : cuda::implementations()) {
    std::string missing = cuda::missing(*implementation);
    const bool supported = missing.empty();
    list.push_back({cuda::name(*implementation), cuda::description(*implementation), supported, std::move(missing),
                    DeviceType::cuda});
  }
  list.push_back({kReferenceName, kReferenceDescription, true, {}, DeviceType::cpu});
  return list;
}

Status force_implementation(std::string_view name) noexcept {
  return guarded([&]() -> Status {
    int index = kAutomatic;
    if (!name.empty()) {
      const Result<int> found = find(name, "implementation");
      if (!found.ok()) return found.status();
      index = *found;
    }
    forced.store(index, std::memory_order_release);
    return {};
  });
}

Result<std::string_view> active_implementation() noexcept {
  return guarded([]() -> Result<std::string_view> {
    const Result<std::optional<Selection>> named = named_selection({});
    if (!named.ok()) return named.status();
    return named->has_value() ? (*named)->name : best_here().name;
  });
}

std::string_view last_implementation() noexcept { return last_served; }

std::string processor_features() { return cpu::processor_features(); }

}  // namespace octavo
