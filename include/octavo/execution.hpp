// How a call runs, apart from what it computes: implementation, threads, stream, scratch memory.
#pragma once

#include <cstddef>
#include <string_view>

#include "octavo/parallel.hpp"

namespace octavo {

/// Everything has a default; nothing here changes a result but the choice of an implementation, and that within
/// rounding.
struct Execution {
  /// Exact name of an implementation ("avx512_vnni"); empty = the best that this machine and the call allow.
  std::string_view implementation{};
  /// Whose threads run it; null = default_runner().
  ParallelRunner* runner = nullptr;
  /// CUDA stream (cudaStream_t) for device tensors; must be null on the CPU.
  void* stream = nullptr;
  /// Scratch memory, on the tensors' device, aligned to 64 bytes on the CPU and to 256 on CUDA. With workspace_size()
  /// bytes of it attention() allocates nothing; dequantize() and merge_state() need none; quantize() allocates its
  /// result all the same. Too few bytes are refused, with how many the call needs.
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

}  // namespace octavo
