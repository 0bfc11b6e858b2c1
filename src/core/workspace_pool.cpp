// The process's free list of scratch buffers.
#include "core/workspace_pool.hpp"

#include <pthread.h>

#include <array>
#include <mutex>
#include <utility>

namespace octavo {
namespace {

// A few slots are enough: each call holds one buffer, and few calls run at the same time.
struct FreeList {
  std::mutex mutex;
  std::array<AlignedBuffer, 16> slots;  // null: empty
  std::size_t bytes = 0;

  AlignedBuffer take(std::size_t slot) noexcept {
    bytes -= slots[slot].size();
    return std::move(slots[slot]);
  }
};

FreeList& free_list() noexcept {
  // Never destroyed: other threads may be in a call while the process ends. In static storage, so that it needs no
  // memory of its own.
  alignas(FreeList) static std::byte storage[sizeof(FreeList)];
  static FreeList* const kList = [] {
    auto* list = new (storage) FreeList;
    // A fork while another thread holds the lock would leave it locked for ever in the child.
    pthread_atfork([] { free_list().mutex.lock(); }, [] { free_list().mutex.unlock(); },
                   [] { free_list().mutex.unlock(); });
    return list;
  }();
  return *kList;
}

}  // namespace

Workspace::Workspace(std::size_t bytes) noexcept {
  if (bytes == 0) return;
  AlignedBuffer outgrown;  // freed after the lock is let go
  {
    FreeList& list = free_list();
    const std::lock_guard lock(list.mutex);
    std::size_t best = list.slots.size(), largest = list.slots.size();
    for (std::size_t slot = 0; slot < list.slots.size(); ++slot) {
      const std::size_t size = list.slots[slot].size();
      if (size == 0) continue;
      if (size >= bytes && (best == list.slots.size() || size < list.slots[best].size())) best = slot;
      if (largest == list.slots.size() || size > list.slots[largest].size()) largest = slot;
    }
    if (best != list.slots.size()) {
      buffer_ = list.take(best);
      return;
    }
    // Growing shapes (a context that gets longer) would otherwise leave a trail of buffers behind them.
    if (largest != list.slots.size()) outgrown = list.take(largest);
  }
  outgrown = AlignedBuffer{};
  buffer_ = AlignedBuffer(bytes);
  if (buffer_.data() == nullptr) {
    trim();  // what is kept for later is worth less than this call
    buffer_ = AlignedBuffer(bytes);
  }
}

Workspace::~Workspace() {
  if (buffer_.data() == nullptr) return;
  FreeList& list = free_list();
  const std::lock_guard lock(list.mutex);
  if (list.bytes + buffer_.size() > kKeptBytes) return;
  for (AlignedBuffer& slot : list.slots) {
    if (slot.data() != nullptr) continue;
    list.bytes += buffer_.size();
    slot = std::move(buffer_);
    return;
  }
}

void Workspace::trim() noexcept {
  std::array<AlignedBuffer, 16> freed;
  FreeList& list = free_list();
  const std::lock_guard lock(list.mutex);
  std::swap(freed, list.slots);
  list.bytes = 0;
}

std::size_t Workspace::kept() noexcept {
  FreeList& list = free_list();
  const std::lock_guard lock(list.mutex);
  return list.bytes;
}

}  // namespace octavo
