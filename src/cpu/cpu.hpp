// The CPU back end's interface to the api: the back end, its list of implementations, and the functions that run a
// checked problem on one of them.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "core/backend.hpp"
#include "core/problem.hpp"
#include "cpu/operands/call_plan.hpp"
#include "octavo/parallel.hpp"
#include "octavo/status.hpp"

namespace octavo::cpu {

// The CPU as a back end (core/backend.hpp).
const Backend& backend() noexcept;

struct Implementation;  // one instruction set: its name, what it needs, its kernels

// In the order of choice on this processor; every one that was compiled in, whether or not this machine can run it.
std::span<const Implementation* const> implementations() noexcept;
const char* name(const Implementation&) noexcept;
// Empty when this machine can run it, else what is missing ("avx512_vnni is missing").
std::string missing(const Implementation&);
// Of one that this machine can run: asks the operating system for what only a process that wants it gets, once and for
// good. Empty, or why the system denies it.
std::string os_permission_error(const Implementation&);
std::string processor_features();
std::string slow_processor_features();
bool interleaves_softmax() noexcept;

// Ok, or unimplemented with what this implementation supports.
Status supports(const Implementation&, const Problem&);

// A call of a problem that supports() accepts, planned once for a runner of `threads` threads.
class PlannedAttention {
 public:
  PlannedAttention(const Implementation& implementation, const Problem& problem, int threads) noexcept;
  std::size_t workspace_bytes() const noexcept { return plan_.bytes; }
  // `workspace` holds workspace_bytes(), 64-byte aligned. The runner has the number of threads that was planned for.
  void run(ParallelRunner& runner, std::byte* workspace) const noexcept;

 private:
  const Implementation& implementation_;
  Plan plan_;
};
// The two steps of it by themselves.
std::size_t workspace_size(const Implementation&, const Problem&, int threads) noexcept;
void attention(const Implementation&, const Problem&, ParallelRunner&, std::byte* workspace) noexcept;

std::size_t workspace_size(const Implementation&, const QuantizeProblem&, int threads) noexcept;
void quantize(const Implementation&, const QuantizeProblem&, ParallelRunner&, std::byte* workspace) noexcept;

std::size_t workspace_size(const Implementation&, const CacheAttentionProblem&, int threads) noexcept;
void attention(const Implementation&, const CacheAttentionProblem&, ParallelRunner&, std::byte* workspace) noexcept;
void append(const Implementation&, const CacheAppendProblem&, ParallelRunner&) noexcept;

void dequantize(const Implementation&, const DequantizeProblem&, ParallelRunner&) noexcept;
void merge(const Implementation&, const MergeProblem&, ParallelRunner&) noexcept;

}  // namespace octavo::cpu
