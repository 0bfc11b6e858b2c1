// How a call runs, apart from what it computes: implementation, threads, stream, scratch memory.
#pragma once

#include <cstddef>
#include <string_view>

#include "octavo/parallel.hpp"

namespace octavo {

struct Execution {
  /// Exact name of an implementation ("avx512_vnni"); empty = the best that this machine and the call allow.
  std::string_view implementation{};
  /// Whose threads run it; null = default_runner().
  ParallelRunner* runner = nullptr;
  /// CUDA stream (cudaStream_t) for device tensors; must be null on the CPU.
  void* stream = nullptr;
  /// Scratch memory of at least workspace_size() bytes, 64-byte aligned; with one given, the call allocates nothing.
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

}  // namespace octavo
