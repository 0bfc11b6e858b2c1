// The CUDA runtime as an interface in plain C++: devices, memory, streams, launches. Two classes implement it: one over
// the CUDA runtime (runtime_cudart.cu, compiled by nvcc), and one in the tests, which runs the same kernels on the host
// by emulation. The rest of the host side depends on this header only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/tile/tensor_box.hpp"
#include "octavo/status.hpp"

namespace octavo::cuda {

struct DeviceProperties {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
  std::size_t shared_bytes = 0;  // most shared memory that one block may ask for
  bool memory_pools = true;      // stream-ordered allocation
  bool pageable_memory = false;  // kernels may read memory that no CUDA call has made
  bool wgmma_kernels = false;    // this build has Hopper's kernels, and the device is one
  int capability() const noexcept { return 10 * major + minor; }
};

// Which device a pointer belongs to, as the driver knows it.
struct Location {
  bool known = false;      // made by CUDA: device, managed or pinned memory
  bool on_device = false;  // on `device` alone
  int device = 0;
};

// One kernel launch: an entry of the kernel table, its parameter block and what it runs on.
struct Launch {
  int kernel = 0;  // KernelId
  std::array<std::uint32_t, 3> grid{1, 1, 1};
  std::uint32_t threads = 32;  // of a block, in one row
  std::size_t shared_bytes = 0;
  const void* params = nullptr;  // copied before launch() returns
  std::size_t params_bytes = 0;
  // It may begin while the stream's last work, one of our kernels, still runs: it waits by itself (begin_kernel()).
  bool overlaps = false;
};

enum class CopyKind : std::uint8_t { to_device, to_host };

// Every function restores the calling thread's current device, and clears errors that a later CUDA call would report.
// `stream` is a cudaStream_t; null is the legacy default stream.
class Runtime {
 public:
  virtual ~Runtime() = default;

  // unavailable: no driver, too old a driver, no device.
  virtual Result<int> device_count() = 0;
  virtual Result<DeviceProperties> properties(int device) = 0;
  virtual Result<Location> locate(const void* pointer) = 0;

  // Whether work for the stream is being recorded into a graph. failed_precondition: the stream may not be used now.
  virtual Result<bool> is_capturing(int device, void* stream) = 0;

  // Memory at once, and memory in the order of a stream (from a pool that keeps released memory).
  virtual Result<void*> allocate(int device, std::size_t bytes) = 0;
  virtual void release(int device, void* memory) noexcept = 0;
  virtual Result<void*> allocate_on(int device, void* stream, std::size_t bytes) = 0;
  virtual void release_on(int device, void* stream, void* memory) noexcept = 0;

  virtual Status clear_on(int device, void* stream, void* memory, std::size_t bytes) = 0;
  // Waits for earlier work of the legacy default stream, copies, and returns when done.
  virtual Status copy(int device, void* to, const void* from, std::size_t bytes, CopyKind kind) = 0;
  virtual Status synchronize(int device, void* stream) = 0;

  // A tensor map for a kernel's parameters.
  virtual Result<TensorMapBytes> tensor_map(int device, const TensorBox& box) = 0;

  virtual Status launch(int device, void* stream, const Launch& launch) = 0;
};

// The process's runtime; null in a build without CUDA.
Runtime* runtime() noexcept;

// For tests: replaces the built-in runtime; null restores it.
void replace_runtime(Runtime* other) noexcept;

// The build's own. Defined by runtime_cudart.cu, or by no_runtime.cpp (null).
Runtime* built_in_runtime() noexcept;

}  // namespace octavo::cuda
