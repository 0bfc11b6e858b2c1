// Scratch memory of one call on a device: the caller's, or memory of the device's pool, allocated and released in the
// order of the call's stream, so that no thread waits. During a stream capture none may be allocated: the graph would
// run again after the memory has been reused.
#pragma once

#include <cstddef>

#include "cuda/host/runtime.hpp"
#include "octavo/execution.hpp"

namespace octavo::cuda {

class DeviceWorkspace {
 public:
  static constexpr std::size_t kAlignment = 256;

  DeviceWorkspace(const Execution& execution, int device, std::size_t bytes);
  ~DeviceWorkspace();
  DeviceWorkspace(const DeviceWorkspace&) = delete;
  DeviceWorkspace& operator=(const DeviceWorkspace&) = delete;

  // invalid_argument: the caller's is too small, badly aligned or not on the device; failed_precondition: none was
  // given and the stream is being captured; resource_exhausted: there is no memory.
  const Status& status() const noexcept { return status_; }
  std::byte* data() const noexcept { return data_; }

 private:
  int device_;
  void* stream_;
  void* own_ = nullptr;
  std::byte* data_ = nullptr;
  Status status_;
};

}  // namespace octavo::cuda
