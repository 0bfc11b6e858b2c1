// ucontext does the switch; sanitizers are told of it, for they follow the stack.
#include "cuda_emulation/fiber.hpp"

#include <cstdint>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define OCTAVO_FIBERS_UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OCTAVO_FIBERS_UNDER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define OCTAVO_FIBERS_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OCTAVO_FIBERS_UNDER_TSAN 1
#endif
#endif
#if defined(OCTAVO_FIBERS_UNDER_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(OCTAVO_FIBERS_UNDER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace octavo::cuda::emulation {
namespace {

// The registers of 32 lanes stand on it, some tens of KiB at a time, several times over in a build without
// optimization.
constexpr std::size_t kStackBytes = std::size_t{4} << 20;

}  // namespace

Fiber::Fiber() : stack_(new std::byte[kStackBytes]) {
#if defined(OCTAVO_FIBERS_UNDER_TSAN)
  sanitizer_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(OCTAVO_FIBERS_UNDER_TSAN)
  __tsan_destroy_fiber(sanitizer_fiber_);
#endif
}

void Fiber::start(std::function<void()> body) {
  body_ = std::move(body);
  error_ = nullptr;
  done_ = false;
  getcontext(&inside_);
  inside_.uc_stack.ss_sp = stack_.get();
  inside_.uc_stack.ss_size = kStackBytes;
  inside_.uc_link = nullptr;
  const auto self = reinterpret_cast<std::uintptr_t>(this);
  makecontext(&inside_, reinterpret_cast<void (*)()>(&Fiber::enter), 2, static_cast<unsigned>(self >> 32),
              static_cast<unsigned>(self));
}

void Fiber::enter(unsigned high, unsigned low) {
  auto* self = reinterpret_cast<Fiber*>(static_cast<std::uintptr_t>(high) << 32 | low);
  self->run();
}

void Fiber::run() {
#if defined(OCTAVO_FIBERS_UNDER_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &outside_stack_, &outside_bytes_);
#endif
  try {
    body_();
  } catch (...) {
    error_ = std::current_exception();
  }
  done_ = true;
#if defined(OCTAVO_FIBERS_UNDER_ASAN)
  __sanitizer_start_switch_fiber(nullptr, outside_stack_, outside_bytes_);
#endif
#if defined(OCTAVO_FIBERS_UNDER_TSAN)
  __tsan_switch_to_fiber(sanitizer_outside_, 0);
#endif
  setcontext(&outside_);
}

void Fiber::resume() {
#if defined(OCTAVO_FIBERS_UNDER_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_.get(), kStackBytes);
#endif
#if defined(OCTAVO_FIBERS_UNDER_TSAN)
  sanitizer_outside_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(sanitizer_fiber_, 0);
#endif
  swapcontext(&outside_, &inside_);
#if defined(OCTAVO_FIBERS_UNDER_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fiber::yield() {
#if defined(OCTAVO_FIBERS_UNDER_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, outside_stack_, outside_bytes_);
#endif
#if defined(OCTAVO_FIBERS_UNDER_TSAN)
  __tsan_switch_to_fiber(sanitizer_outside_, 0);
#endif
  swapcontext(&inside_, &outside_);
#if defined(OCTAVO_FIBERS_UNDER_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, &outside_stack_, &outside_bytes_);
#endif
}

}  // namespace octavo::cuda::emulation
