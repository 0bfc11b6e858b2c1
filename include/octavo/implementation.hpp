// The implementations of this build as objects one can list, ask and force (one per instruction set, and the
// reference).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "octavo/export.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

/// One implementation of this build, whether this machine can run it or not.
struct ImplementationInfo {
  std::string_view name;         // "avx512_vnni"
  std::string_view description;  // one line: which instructions it uses
  bool supported;                // this machine can run it
  std::string reason;            // empty when supported, else what is missing
  DeviceType device;             // whose tensors it takes
};

/// All implementations of this build: the CPU's in the order of choice, then CUDA's, "reference" last. In a build with
/// CUDA this asks the driver for its devices. Throws std::bad_alloc without memory for the list.
OCTAVO_API std::vector<ImplementationInfo> implementations();

/// Forces an implementation for later calls of the whole process; "" returns to the automatic choice. Setters win over
/// the environment's OCTAVO_FORCE_IMPLEMENTATION.
/// Errors: invalid_argument (unknown; lists the names), unavailable (this machine cannot run it).
OCTAVO_API Status force_implementation(std::string_view name) noexcept;

/// The implementation that calls on CPU tensors without an explicit one will use now; an error if the environment names
/// one that is unknown or cannot run.
OCTAVO_API Result<std::string_view> active_implementation() noexcept;

/// Name of the implementation that served the calling thread's last successful call; "" before the first.
OCTAVO_API std::string_view last_implementation() noexcept;

/// Which instruction-set features the processor and the operating system offer, as text: "avx2 fma avx512f ...".
/// Throws std::bad_alloc without memory for it.
OCTAVO_API std::string processor_features();

}  // namespace octavo
