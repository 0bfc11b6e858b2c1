// CUDA devices as this process sees them, memory on them, and waiting for them: what a program without CUDA headers
// needs to hand device tensors to octavo.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "octavo/export.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

/// One CUDA device as the driver describes it.
struct DeviceInfo {
  Device device;
  std::string name;                // "NVIDIA H200"
  std::string compute_capability;  // "9.0"
  std::size_t memory_bytes = 0;
  int multiprocessors = 0;
};

/// The CUDA devices, in the driver's order. Errors: unavailable, with the reason there are none (a build without CUDA,
/// no driver, too old a driver, no device).
OCTAVO_API Result<std::vector<DeviceInfo>> devices() noexcept;

/// Waits for all work of a stream (cudaStream_t; null: the legacy default stream) and says whether it succeeded.
/// Nothing to wait for on the CPU. Errors: invalid_argument (no such device), internal (work failed).
OCTAVO_API Status synchronize(Device device, void* stream = nullptr) noexcept;

/// Memory of a device, aligned to 256 bytes, freed with the last copy of this object (which waits for the device).
class OCTAVO_API DeviceMemory {
 public:
  DeviceMemory() = default;
  /// Uninitialised. Errors: unavailable, invalid_argument (device), resource_exhausted.
  static Result<DeviceMemory> allocate(Device device, std::size_t bytes) noexcept;

  void* data() const noexcept { return memory_.get(); }
  std::size_t bytes() const noexcept { return bytes_; }
  Device device() const noexcept { return device_; }

  /// From and to the host's memory, `bytes` at `offset`; work enqueued on the legacy default stream comes first, and
  /// the copy is complete on return. Errors: invalid_argument (beyond the end), internal.
  Status copy_from(const void* host, std::size_t bytes, std::size_t offset = 0) const noexcept;
  Status copy_to(void* host, std::size_t bytes, std::size_t offset = 0) const noexcept;

 private:
  std::shared_ptr<void> memory_;
  std::size_t bytes_ = 0;
  Device device_;
};

}  // namespace octavo
