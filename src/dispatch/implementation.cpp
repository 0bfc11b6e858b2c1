// The list of implementations and the ways to name one: per call, for the process, by the environment.
#include "octavo/implementation.hpp"

#include <atomic>
#include <new>

#include "core/env.hpp"
#include "core/text.hpp"
#include "dispatch/selection.hpp"
#include "reference/reference.hpp"

namespace octavo {
namespace {

constexpr std::string_view kReferenceName = "reference";
constexpr std::string_view kReferenceDescription = "the oracle: every recipe in double, one thread, for checking";

struct Entry {
  Selection selection;
  std::string missing;  // empty: this machine can run it
};

// Best first, the reference last. Asked of the machine once.
const std::vector<Entry>& entries() {
  static const std::vector<Entry>* const kEntries = [] {
    auto* list = new std::vector<Entry>;
    for (const cpu::Implementation* implementation : cpu::implementations()) {
      list->push_back({{implementation, cpu::name(*implementation)}, cpu::missing(*implementation)});
    }
    list->push_back({{nullptr, kReferenceName}, {}});
    return list;  // never destroyed: names are handed out for good
  }();
  return *kEntries;
}

// What was forced: an index into entries(), or one of these.
constexpr int kByEnvironment = -2;
constexpr int kAutomatic = -1;
std::atomic<int> forced{kByEnvironment};

thread_local std::string_view last_served;

// Index of a name that this machine can run. `source` tells whose name it is.
Result<int> find(std::string_view name, std::string_view source) {
  const std::vector<Entry>& list = entries();
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].selection.name != name) continue;
    if (list[i].missing.empty()) return static_cast<int>(i);
    return unavailable(source, " \"", name, "\" cannot run on this machine: ", list[i].missing);
  }
  std::string known;
  for (const Entry& entry : list) known += text(known.empty() ? "" : ", ", entry.selection.name);
  return invalid_argument(source, " \"", name, "\" is unknown; this build has ", known);
}

// The index forced from outside the call, or kAutomatic.
Result<int> forced_index() {
  const int index = forced.load(std::memory_order_acquire);
  if (index != kByEnvironment) return index;
  const std::string& name = environment().force_implementation;
  return name.empty() ? Result<int>(kAutomatic) : find(name, "OCTAVO_FORCE_IMPLEMENTATION");
}

// The entry that a call must use, or null for the automatic choice.
Result<const Entry*> named_entry(std::string_view asked) {
  const Result<int> index = asked.empty() ? forced_index() : find(asked, "implementation");
  if (!index.ok()) return index.status();
  return *index < 0 ? nullptr : &entries()[static_cast<std::size_t>(*index)];
}

Status nothing_runs_here() {
  std::string reasons;
  for (const Entry& entry : entries()) {
    if (!entry.missing.empty())
      reasons += text(reasons.empty() ? " (" : "; ", entry.selection.name, ": ", entry.missing);
  }
  if (!reasons.empty()) reasons += ")";
  return unavailable("no implementation but \"", kReferenceName, "\" can run on this machine", reasons);
}

}  // namespace

Result<Selection> select_implementation(const Problem& problem, std::string_view asked) {
  const Result<const Entry*> named = named_entry(asked);
  if (!named.ok()) return named.status();
  if (*named != nullptr) {
    const Selection& selection = (*named)->selection;
    Status status = selection.cpu != nullptr ? cpu::supports(*selection.cpu, problem) : reference::supports(problem);
    if (!status.ok()) return status;
    return selection;
  }
  Status refused;
  for (const Entry& entry : entries()) {
    if (entry.selection.cpu == nullptr || !entry.missing.empty()) continue;
    Status status = cpu::supports(*entry.selection.cpu, problem);
    if (status.ok()) return entry.selection;
    if (refused.ok()) refused = std::move(status);  // the best implementation's words
  }
  if (refused.ok()) refused = nothing_runs_here();
  if (!reference::supports(problem).ok()) return refused;
  return Status(refused.code(), text(refused.message(), "; implementation \"", kReferenceName, "\" runs it"));
}

Result<Selection> select_implementation(const QuantizeProblem&, std::string_view asked) {
  const Result<const Entry*> named = named_entry(asked);
  if (!named.ok()) return named.status();
  if (*named != nullptr) return (*named)->selection;
  for (const Entry& entry : entries()) {
    if (entry.missing.empty()) return entry.selection;
  }
  return nothing_runs_here();
}

void note_served_by(const Selection& selection) noexcept { last_served = selection.name; }

std::vector<ImplementationInfo> implementations() {
  std::vector<ImplementationInfo> list;
  for (const Entry& entry : entries()) {
    const cpu::Implementation* cpu = entry.selection.cpu;
    list.push_back({entry.selection.name,
                    cpu != nullptr ? std::string_view(cpu::description(*cpu)) : kReferenceDescription,
                    entry.missing.empty(), entry.missing});
  }
  return list;
}

Status force_implementation(std::string_view name) {
  int index = kAutomatic;
  if (!name.empty()) {
    const Result<int> found = find(name, "implementation");
    if (!found.ok()) return found.status();
    index = *found;
  }
  forced.store(index, std::memory_order_release);
  return {};
}

Result<std::string_view> active_implementation() {
  const Result<const Entry*> named = named_entry({});
  if (!named.ok()) return named.status();
  if (*named != nullptr) return (*named)->selection.name;
  for (const Entry& entry : entries()) {
    if (entry.selection.cpu != nullptr && entry.missing.empty()) return entry.selection.name;
  }
  return nothing_runs_here();
}

std::string_view last_implementation() noexcept { return last_served; }

std::string processor_features() { return cpu::processor_features(); }

}  // namespace octavo
