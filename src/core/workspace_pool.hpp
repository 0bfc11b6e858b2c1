// Scratch memory for calls that bring none: kept between calls, so that repeated calls pay no page faults.
// Freed: never while the kept buffers stay below kKeptBytes; beyond it a returned buffer goes back to the system at
// once, and a request larger than every kept buffer frees the largest of them first. trim() frees all.
#pragma once

#include <cstddef>

#include "core/aligned_buffer.hpp"

namespace octavo {

class Workspace {
 public:
  static constexpr std::size_t kKeptBytes = std::size_t{256} << 20;

  // At least `bytes`, uninitialised; data() is null without memory, or if bytes is 0.
  explicit Workspace(std::size_t bytes) noexcept;
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  std::byte* data() const noexcept { return buffer_.data(); }
  std::size_t size() const noexcept { return buffer_.size(); }

  // Frees every buffer that no call holds.
  static void trim() noexcept;
  // Bytes in buffers that no call holds.
  static std::size_t kept() noexcept;

 private:
  AlignedBuffer buffer_;
};

}  // namespace octavo
