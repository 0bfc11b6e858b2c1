// The memory of an array of a cache: the host's, or that of a device, which the api allocates.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "core/aligned_buffer.hpp"
#include "octavo/status.hpp"

namespace octavo::kv_cache {

// Memory of `bytes` on the cache's device, a copy of the host's `initial` unless that is null.
using DeviceAllocator = std::function<Result<std::shared_ptr<void>>(std::size_t bytes, const void* initial)>;

// Copies `bytes` from one device to another.
using Transfer = std::function<Status(void* to, const void* from, std::size_t bytes)>;

class Memory {
 public:
  Memory() = default;
  explicit Memory(AlignedBuffer host) noexcept : host_(std::move(host)), size_(host_.size()) {}
  Memory(std::shared_ptr<void> device, std::size_t bytes) noexcept : device_(std::move(device)), size_(bytes) {}

  std::byte* data() const noexcept {
    return device_ != nullptr ? static_cast<std::byte*>(device_.get()) : host_.data();
  }
  std::size_t size() const noexcept { return size_; }

 private:
  AlignedBuffer host_;
  std::shared_ptr<void> device_;
  std::size_t size_ = 0;
};

}  // namespace octavo::kv_cache
