// Scratch memory of one call on a device: the caller's, or memory taken from the device's pool in the order of the
// call's stream and given back the same way, so that nobody waits. While a stream is captured into a graph nothing may
// be taken: the graph would run again when the memory is somebody else's.
#pragma once

#include <cstddef>

#include "cuda/runtime.hpp"
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
