// Scratch memory: 64-byte aligned, on huge pages where it is large enough to gain by them, null when there is none.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <utility>

namespace octavo {

class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;
  // From here on a buffer starts on a huge page and asks for them: below, rounding up would waste more than it saves.
  static constexpr std::size_t kHugeFrom = std::size_t{4} << 20;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  AlignedBuffer() = default;
  // Uninitialised; data() is null without memory, or if `bytes` is 0.
  explicit AlignedBuffer(std::size_t bytes) noexcept {
    if (bytes == 0) return;
    const std::size_t alignment = bytes >= kHugeFrom ? kHugePage : kAlignment;
    if (bytes > static_cast<std::size_t>(-1) / 2) return;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    data_ = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
    if (data_ == nullptr) return;
    size_ = rounded;
#ifdef MADV_HUGEPAGE
    if (alignment == kHugePage) (void)::madvise(data_, rounded, MADV_HUGEPAGE);  // a hint: refusal changes nothing
#endif
  }
  ~AlignedBuffer() { std::free(data_); }

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  std::byte* data() const noexcept { return data_; }
  // At least what was asked for: rounded up to the alignment.
  std::size_t size() const noexcept { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace octavo
