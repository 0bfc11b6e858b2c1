// The interface of a back end: its implementations and what each of them can run. The api (src/api) selects and calls
// implementations only through it.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "core/cache_problem.hpp"
#include "core/problem.hpp"
#include "octavo/execution.hpp"
#include "octavo/status.hpp"

namespace octavo {

class Backend;

// One implementation. Objects and their names stay valid for the life of the process.
struct Implementation {
  const char* name;
  const char* description;
  const Backend& (*backend)() noexcept;  // whose it is; a function, so that tables are constants
};
using ImplementationList = std::span<const Implementation* const>;

// What a call used, for the log.
struct CallReport {
  int threads = 0;  // 0: none of the host's
  std::size_t workspace_bytes = 0;
};

// Problems have passed every check. A call makes its plan, takes the scratch memory that the plan needs from the
// Execution, and runs.
class Backend {
 public:
  virtual DeviceType device() const noexcept = 0;  // of the tensors

  // All that are compiled in, whether or not this machine can run them, best first.
  virtual ImplementationList implementations() const = 0;
  // Those that the automatic choice tries, best first; supports() decides.
  virtual ImplementationList candidates() const = 0;
  // Empty when this machine can run it, else why not. May initialise a driver.
  virtual std::string missing(const Implementation& implementation) const = 0;
  // As missing(), for an implementation that is about to be used: also asks the operating system for what only
  // processes that need it get.
  virtual std::string claim(const Implementation& implementation) const { return missing(implementation); }

  // Ok, or unimplemented with what this implementation supports; unavailable: the tensors' device cannot run it.
  virtual Status supports(const Implementation&, const Problem&) const = 0;
  virtual Status supports(const Implementation&, const QuantizeProblem&) const = 0;
  virtual Status supports(const Implementation&, const DequantizeProblem&) const = 0;
  virtual Status supports(const Implementation&, const MergeProblem&) const = 0;

  // The rest take problems that supports() accepts.
  virtual Result<std::size_t> workspace_size(const Implementation&, const Problem&, const Execution&) const = 0;
  virtual Status attention(const Implementation&, const Problem&, const Execution&, CallReport&) const = 0;
  virtual Status quantize(const Implementation&, const QuantizeProblem&, const Execution&) const = 0;
  virtual Status dequantize(const Implementation&, const DequantizeProblem&, const Execution&) const = 0;
  virtual Status merge(const Implementation&, const MergeProblem&, const Execution&) const = 0;

  // A key-value cache: whether the implementation has its kernels, and the two calls.
  virtual Status supports_cache(const Implementation&, Device) const = 0;
  virtual Result<std::size_t> workspace_size(const Implementation&, const CacheAttentionProblem&,
                                             const Execution&) const = 0;
  virtual Status append(const Implementation&, const CacheAppendProblem&, const Execution&) const = 0;
  virtual Status attention(const Implementation&, const CacheAttentionProblem&, const Execution&,
                           CallReport&) const = 0;

 protected:
  ~Backend() = default;
};

}  // namespace octavo
