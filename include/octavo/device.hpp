// CUDA devices of this process, device memory and synchronization, for programs that use device tensors without CUDA
// headers.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "octavo/export.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

/// Properties of one CUDA device.
struct DeviceInfo {
  Device device;
  std::string name;                // "NVIDIA H200"
  std::string compute_capability;  // "9.0"
  std::size_t memory_bytes = 0;
  int multiprocessors = 0;
};

/// The CUDA devices, in the driver's order. Errors: unavailable, with the reason (a build without CUDA,
/// no driver, an outdated driver, no device).
OCTAVO_API Result<std::vector<DeviceInfo>> devices() noexcept;

/// Waits for all work of a stream (cudaStream_t; null: the legacy default stream) and returns whether it succeeded.
/// Does nothing on the CPU. Errors: invalid_argument (no such device), internal (work failed).
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

  /// Copies `bytes` at `offset` from and to host memory, after all work on the legacy default stream; complete on
  /// return. Errors: invalid_argument (out of range), internal.
  Status copy_from(const void* host, std::size_t bytes, std::size_t offset = 0) const noexcept;
  Status copy_to(void* host, std::size_t bytes, std::size_t offset = 0) const noexcept;

 private:
  std::shared_ptr<void> memory_;
  std::size_t bytes_ = 0;
  Device device_;
};

}  // namespace octavo
