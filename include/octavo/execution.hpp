// Execution options of a call: implementation, threads, stream, scratch memory.
#pragma once

#include <cstddef>
#include <string_view>

#include "octavo/parallel.hpp"

namespace octavo {

/// All fields have defaults. Only the implementation affects results, within rounding; the other fields do
/// not.
struct Execution {
  /// Exact name of an implementation ("avx512_vnni"); empty = the best one for this machine and call.
  std::string_view implementation{};
  /// Thread pool to use; null = default_runner().
  ParallelRunner* runner = nullptr;
  /// CUDA stream (cudaStream_t) for device tensors; must be null on the CPU.
  void* stream = nullptr;
  /// Scratch memory, on the tensors' device, aligned to 64 bytes on the CPU and to 256 on CUDA. With workspace_size()
  /// bytes attention() allocates no memory; dequantize() and merge_state() need none; quantize() still allocates its
  /// result. If there are too few bytes, the error names the required number.
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

}  // namespace octavo
