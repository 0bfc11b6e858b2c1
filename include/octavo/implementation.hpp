// Listing, querying and forcing the implementations of this build (one per instruction set, and the
// reference).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "octavo/export.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

/// One implementation of this build; this machine need not support it.
struct ImplementationInfo {
  std::string_view name;         // "avx512_vnni"
  std::string_view description;  // one line: the instructions it uses
  bool supported;                // this machine can run it
  std::string reason;            // empty when supported, else what is missing
  DeviceType device;             // the tensors it accepts
};

/// All implementations of this build: the CPU's in order of preference here, then CUDA's, "reference" last. In a build
/// with CUDA this queries the driver. Throws std::bad_alloc without memory for the list.
OCTAVO_API std::vector<ImplementationInfo> implementations();

/// Forces an implementation for later calls of the whole process; "" restores the automatic choice. Overrides the
/// environment variable OCTAVO_FORCE_IMPLEMENTATION.
/// Errors: invalid_argument (unknown; lists the names), unavailable (this machine cannot run it).
OCTAVO_API Status force_implementation(std::string_view name) noexcept;

/// The implementation of calls on CPU tensors that name none; an error if the environment variable names an unknown one
/// or one that cannot run.
OCTAVO_API Result<std::string_view> active_implementation() noexcept;

/// Name of the implementation of the calling thread's last successful call; "" before the first.
OCTAVO_API std::string_view last_implementation() noexcept;

/// Instruction-set features supported by the processor and the operating system, as text: "avx2 fma avx512f ...".
/// Throws std::bad_alloc without memory for it.
OCTAVO_API std::string processor_features();

/// Those of processor_features() whose instructions are slower on this processor than the ones they replace:
/// implementations that need them are not preferred here. "" where there are none. Throws std::bad_alloc.
OCTAVO_API std::string slow_processor_features();

/// Whether CPU kernels that can (AVX-512 with VNNI) interleave the softmax of one group of rows with the products of
/// the next: not on Intel processors, where both use the same ports. OCTAVO_INTERLEAVE_SOFTMAX=on or off overrides it;
/// the results are the same bits.
OCTAVO_API bool interleaves_softmax() noexcept;

}  // namespace octavo
